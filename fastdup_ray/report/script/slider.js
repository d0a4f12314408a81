// The slider below the histogram: two ends, and the bars between them.
import { data } from "./data.js";
import { make } from "./elements.js";
import { value } from "./words.js";

const STEPS = 200;

/** box: the element below the histogram, which says from where to where it reaches. change: is told {low, high}. */
export function makeSlider(box, change) {
  const [low, high] = [Number(box.dataset.low), Number(box.dataset.high)];
  const told = make("output", { class: "between" });
  const [from, to] = ["from", "to"].map((end) => {
    const names = { id: `range-${end}`, "aria-label": `Show ${end}` };
    return make("input", { type: "range", min: 0, max: STEPS, value: end === "from" ? 0 : STEPS, ...names });
  });
  const at = (end) => low + ((high - low) * Number(end.value)) / STEPS;
  const update = (moved) => {
    if (Number(from.value) > Number(to.value)) (moved === from ? to : from).value = moved.value; // it takes the other along
    for (const end of [from, to]) end.setAttribute("aria-valuetext", at(end).toFixed(3));
    // At its ends the slider leaves nothing out: groups may reach beyond the pairs.
    const between = {
      low: Number(from.value) === 0 ? -Infinity : at(from),
      high: Number(to.value) === STEPS ? Infinity : at(to),
    };
    const whole = between.low === -Infinity && between.high === Infinity;
    const groups = data.cosine && data.lists.groups ? "; groups by the lowest similarity inside" : "";
    told.textContent = whole
      ? `all, ${value(low)} to ${value(high)}`
      : `only ${value(at(from))} to ${value(at(to))}${groups}`;
    for (const bar of document.querySelectorAll(".bar[data-low]")) {
      const [start, stop] = [Number(bar.dataset.low), Number(bar.dataset.high)];
      bar.classList.toggle("out", stop <= between.low || start > between.high);
    }
    return between;
  };
  let waiting = 0;
  for (const end of [from, to]) {
    end.addEventListener("input", () => {
      const between = update(end);
      cancelAnimationFrame(waiting);
      waiting = requestAnimationFrame(() => change(between));
    });
  }
  box.append(make("div", { class: "ends" }, from, to), told);
  update(from);
}
