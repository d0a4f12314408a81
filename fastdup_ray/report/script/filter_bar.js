// The bar that filters and sorts the list: search, similarity, relation, order, and what is undecided.
import { createButton, createElement } from "./dom.js";
import { createRelationFilter } from "./relation_filter.js";
import { Slider } from "./slider.js";

const NO_FILTER = { query: "", undecided: false, relation: "", kind: "", low: -Infinity, high: Infinity };

/** The filters of all lists. onchange is called after each change. */
export class FilterBar {
  #values = { ...NO_FILTER };

  constructor(decisions, onchange) {
    const change = (values) => {
      Object.assign(this.#values, values);
      onchange();
    };
    this.decisions = decisions;
    this.onchange = onchange;
    this.search = createElement("input", {
      ...{ type: "search", id: "search", placeholder: "Name or folder", "aria-label": "Search by name" },
      ...{ "aria-keyshortcuts": "/", oninput: () => change({ query: this.search.value.trim().toLowerCase() }) },
    });
    this.order = createElement("select", { id: "order", "aria-label": "Order", onchange });
    this.undecided = createElement("input", {
      ...{ type: "checkbox", id: "undecided" },
      onchange: () => change({ undecided: this.undecided.checked }),
    });
    this.relation = createRelationFilter((relation) => change({ relation }));
    this.kind = createElement("select", {
      ...{ id: "kind", "aria-label": "Issue" },
      onchange: () => change({ kind: this.kind.value }),
    });
    this.clear = createButton("Reset", () => this.reset(), { id: "reset", hidden: true });
    this.histogram = document.getElementById("histogram");
    const range = document.getElementById("range");
    this.slider = range && new Slider(range, change);
    this.more = createButton("Filters", () => this.#toggle(), { class: "more-filters", "aria-expanded": "false" });
    this.element = createElement(
      "div",
      { class: "bar filters", role: "search" },
      this.search,
      this.more,
      this.histogram,
      createElement("label", {}, "Issue ", this.kind),
      createElement("label", {}, "Order ", this.order),
      this.relation,
      createElement("label", {}, this.undecided, " undecided only"),
      this.clear,
    );
  }

  /** Whether a filter hides anything. */
  get isActive() {
    return Object.keys(NO_FILTER).some((name) => this.#values[name] !== NO_FILTER[name]);
  }

  /** Offer the filters and orders that a list has. */
  show(list, order) {
    const setOptions = (select, options) => {
      select.replaceChildren(...options.map(([value, text]) => createElement("option", { value }, text)));
      select.parentElement.hidden = options.length < 2;
    };
    setOptions(
      this.order,
      Object.entries(list.orders).map(([name, [text]]) => [name, text]),
    );
    this.order.value = order;
    setOptions(this.kind, list.kinds ? [["", "any"], ...list.kinds] : []);
    this.kind.value = this.#values.kind;
    this.undecided.parentElement.hidden = !list.decidable;
    this.relation.update(list);
    if (this.histogram) this.histogram.hidden = !list.getValue;
    this.update();
  }

  /** Show whether there is something to reset. */
  update() {
    this.clear.hidden = !this.isActive;
  }

  /** Remove all filters. */
  reset() {
    Object.assign(this.#values, NO_FILTER);
    this.search.value = this.kind.value = this.relation.select.value = "";
    this.undecided.checked = false;
    this.slider?.reset();
    this.onchange();
  }

  /** Whether an item of a list passes all filters. */
  matches(list, item) {
    const { query, undecided, relation, kind, low, high } = this.#values;
    if (query && !list.getTexts(item).some((text) => text.toLowerCase().includes(query))) return false;
    if (undecided && list.decidable && this.decisions.isDecided(item)) return false;
    if (relation && list.getRelations && !list.getRelations(item).has(relation)) return false;
    if (kind && list.kinds && item.kind !== kind) return false;
    if (!list.getValue) return true;
    const value = list.getValue(item);
    if (value === null) return low === -Infinity && high === Infinity;
    return low <= value && value <= high;
  }

  /** Show or hide the filters beside the search, where there is no room for all. */
  #toggle() {
    const isOpen = this.element.classList.toggle("open");
    this.more.setAttribute("aria-expanded", String(isOpen));
  }
}
