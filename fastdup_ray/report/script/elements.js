// Elements of the page. All text becomes text nodes and attributes: nothing is ever read as HTML.
import { visible } from "./words.js";

const NOTHING = new Set([undefined, null, false, ""]);

export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === false || value === null || value === undefined) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat().filter((child) => !NOTHING.has(child)));
  return element;
}

/** A button, with the key that does the same. */
export function button(text, onclick, attributes = {}, key = "") {
  const hint = key && make("kbd", { "aria-hidden": "true" }, key);
  return make("button", { type: "button", onclick, "aria-keyshortcuts": key || null, ...attributes }, text, hint);
}

/** A text of somebody else's, such as a name, whatever direction it is written in. */
export function foreign(text, attributes = {}) {
  return make("bdi", attributes, text);
}

/** Tells a screen reader, and everybody else, in the line that there is for it. */
export function tell(text) {
  document.getElementById("told").textContent = visible(text);
}

/** Whether a key pressed now is meant for a field, or goes with others. */
export function isTyping(event) {
  const field = event.target.closest?.("input, select, textarea");
  return event.ctrlKey || event.metaKey || event.altKey || (field && !["range", "checkbox"].includes(field.type));
}
