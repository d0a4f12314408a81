// The range of values to show, below a histogram of the pairs.
import { createElement } from "./dom.js";
import { formatValue } from "./format.js";

const STEPS = 200;
const LABELS = { from: "Lowest value to show", to: "Highest value to show" };

/** A slider with two ends. onchange gets {low, high}. */
export class Slider {
  #onchange;
  #pending = 0;

  /** box: its data attributes have the ends of the range. */
  constructor(box, onchange) {
    this.#onchange = onchange;
    [this.low, this.high] = [Number(box.dataset.low), Number(box.dataset.high)];
    this.output = createElement("output", { class: "between" });
    this.span = createElement("div", { class: "span" });
    [this.from, this.to] = ["from", "to"].map((end) =>
      createElement("input", {
        ...{ type: "range", min: 0, max: STEPS, value: end === "from" ? 0 : STEPS, id: `range-${end}` },
        ...{ "aria-label": LABELS[end], oninput: (event) => this.#move(event.target) },
      }),
    );
    box.append(createElement("div", { class: "ends" }, this.span, this.from, this.to), this.output);
    this.#update();
  }

  /** Show all values again; does not call onchange. */
  reset() {
    [this.from.value, this.to.value] = [0, STEPS];
    this.#update();
  }

  #move(moved) {
    // One end pushes the other along.
    if (Number(this.from.value) > Number(this.to.value)) {
      (moved === this.from ? this.to : this.from).value = moved.value;
    }
    const range = this.#update();
    cancelAnimationFrame(this.#pending);
    this.#pending = requestAnimationFrame(() => this.#onchange(range));
  }

  #update() {
    const [low, high] = [this.from, this.to].map((end) => {
      const value = this.low + ((this.high - this.low) * Number(end.value)) / STEPS;
      end.setAttribute("aria-valuetext", value.toFixed(3));
      return value;
    });
    // At its ends the slider hides nothing: groups may have values beyond those of the pairs.
    const range = {
      low: Number(this.from.value) === 0 ? -Infinity : low,
      high: Number(this.to.value) === STEPS ? Infinity : high,
    };
    this.output.textContent = `${formatValue(low)} to ${formatValue(high)}`;
    this.span.style.left = `${(100 * this.from.value) / STEPS}%`;
    this.span.style.right = `${100 - (100 * this.to.value) / STEPS}%`;
    for (const bar of document.querySelectorAll(".bar[data-low]")) {
      const [start, stop] = [Number(bar.dataset.low), Number(bar.dataset.high)];
      bar.classList.toggle("out", stop <= range.low || start > range.high);
    }
    return range;
  }
}
