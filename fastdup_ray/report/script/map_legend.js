// What points are colored by, and which of them stand out: by category, or by name.
import { getImage } from "./data.js";
import { createButton, createElement, isolateText } from "./dom.js";
import { formatCount, formatNumber } from "./format.js";
import { colorings, countCategories, nameCategory, pointCount } from "./map_data.js";

/** The choices of color and points. onchange is called when a choice changes. */
export class Legend {
  #chosen = null; // a category, or null for all
  #words = "";

  constructor(onchange) {
    this.onchange = onchange;
    this.coloring = colorings[0] ?? null;
    this.list = createElement("ul", { class: "legend", "aria-label": "Categories" });
    this.count = createElement("p", { class: "note match-count", role: "status" });
    const options = colorings.map(({ title }, at) => createElement("option", { value: at }, title));
    const select = createElement("select", { id: "color-by", onchange: () => this.#color(select.value) }, ...options);
    this.search = createElement("input", {
      type: "search",
      placeholder: "Search names",
      "aria-label": "Search names",
      oninput: () => this.#find(this.search.value),
    });
    this.tools = [
      colorings.length > 0 && createElement("label", { for: "color-by" }, "Color by"),
      colorings.length > 0 && select,
      this.search,
    ];
    this.#fill();
  }

  /** The category of each point. */
  get categories() {
    return Int8Array.from({ length: pointCount }, (_, point) => this.coloring?.of[point] ?? -1);
  }

  /** 1 for each point that matches the chosen category and the search; null if nothing is chosen. */
  get matches() {
    if (this.#chosen === null && !this.#words) return null;
    return Uint8Array.from({ length: pointCount }, (_, point) => Number(this.#isMatch(point)));
  }

  #isMatch(point) {
    if (this.#chosen !== null && this.coloring.of[point] !== this.#chosen) return false;
    return !this.#words || getImage(point).name.toLowerCase().includes(this.#words);
  }

  #color(at) {
    this.coloring = colorings[at];
    this.#chosen = null;
    this.#change();
  }

  #find(words) {
    this.#words = words.trim().toLowerCase();
    this.#change();
  }

  #choose(category) {
    this.#chosen = this.#chosen === category ? null : category;
    const at = [...this.list.querySelectorAll("button")].indexOf(document.activeElement);
    this.#change();
    this.list.querySelectorAll("button")[at]?.focus();
  }

  #change() {
    this.#fill();
    const { matches } = this;
    const count = matches?.reduce((sum, match) => sum + match, 0);
    this.count.textContent = matches ? `${formatNumber(count)} of ${formatCount(pointCount, "image")}` : "";
    this.onchange();
  }

  #fill() {
    const items = this.coloring ? countCategories(this.coloring) : [];
    this.list.replaceChildren(...items.map((item) => createElement("li", {}, this.#createItem(item))));
  }

  #createItem({ category, count }) {
    const color = category < 0 ? "none" : category < this.coloring.names.length ? category : "others";
    const button = createButton("", () => this.#choose(category), { "aria-pressed": String(this.#chosen === category) });
    button.append(
      createElement("span", { class: "dot", "data-category": color, "aria-hidden": "true" }),
      isolateText(nameCategory(this.coloring, category), { class: "category" }),
      createElement("span", { class: "count" }, formatNumber(count)),
    );
    return button;
  }
}
