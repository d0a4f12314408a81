// The slider below the histogram: a range of values, and the bars inside it.
import { data } from "./data.js";
import { createElement } from "./dom.js";
import { formatValue } from "./format.js";

const STEPS = 200;
const LABELS = { from: "Lowest value to show", to: "Highest value to show" };

/** Fill `box`, whose data attributes have the ends of the range. onchange gets {low, high}. */
export function createSlider(box, onchange) {
  const [low, high] = [Number(box.dataset.low), Number(box.dataset.high)];
  const output = createElement("output", { class: "between" });
  const [from, to] = ["from", "to"].map((end) => {
    const names = { id: `range-${end}`, "aria-label": LABELS[end] };
    return createElement("input", { type: "range", min: 0, max: STEPS, value: end === "from" ? 0 : STEPS, ...names });
  });
  const valueOf = (end) => low + ((high - low) * Number(end.value)) / STEPS;
  const update = (moved) => {
    // One end pushes the other along.
    if (Number(from.value) > Number(to.value)) (moved === from ? to : from).value = moved.value;
    for (const end of [from, to]) end.setAttribute("aria-valuetext", valueOf(end).toFixed(3));
    // At its ends the slider hides nothing: groups may have values beyond those of the pairs.
    const range = {
      low: Number(from.value) === 0 ? -Infinity : valueOf(from),
      high: Number(to.value) === STEPS ? Infinity : valueOf(to),
    };
    const all = range.low === -Infinity && range.high === Infinity;
    const groups = data.cosine && data.lists.groups ? "; groups by their lowest similarity" : "";
    output.textContent = all
      ? `all, ${formatValue(low)} to ${formatValue(high)}`
      : `${formatValue(valueOf(from))} to ${formatValue(valueOf(to))}${groups}`;
    for (const bar of document.querySelectorAll(".bar[data-low]")) {
      const [start, stop] = [Number(bar.dataset.low), Number(bar.dataset.high)];
      bar.classList.toggle("out", stop <= range.low || start > range.high);
    }
    return range;
  };
  let pending = 0;
  for (const end of [from, to]) {
    end.addEventListener("input", () => {
      const range = update(end);
      cancelAnimationFrame(pending);
      pending = requestAnimationFrame(() => onchange(range));
    });
  }
  box.append(createElement("div", { class: "ends" }, from, to), output);
  update(from);
}
