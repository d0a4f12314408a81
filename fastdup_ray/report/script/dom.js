// Elements of the page. Texts become text nodes and attributes; no text is ever parsed as HTML.
import { escapeInvisible } from "./format.js";

const NO_CHILD = new Set([undefined, null, false, ""]);

/** Create an element. An attribute that begins with "on" is an event listener. */
export function createElement(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === false || value === null || value === undefined) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat().filter((child) => !NO_CHILD.has(child)));
  return element;
}

/** Create a button that shows its keyboard shortcut. */
export function createButton(text, onclick, attributes = {}, key = "") {
  const hint = key && createElement("kbd", { "aria-hidden": "true" }, key);
  return createElement(
    "button",
    { type: "button", onclick, "aria-keyshortcuts": key || null, ...attributes },
    text,
    hint,
  );
}

/** Isolate a text of unknown origin, such as a name, so that its direction of writing does not affect what follows. */
export function isolateText(text, attributes = {}) {
  return createElement("bdi", attributes, text);
}

/** Show a message in the bar at the bottom, where screen readers announce it. */
export function announce(text) {
  document.getElementById("message").textContent = escapeInvisible(text);
}

/** Whether a key press belongs to a text field, or to a shortcut of the browser. */
export function isTyping(event) {
  const field = event.target.closest?.("input, select, textarea");
  return event.ctrlKey || event.metaKey || event.altKey || (field && !["range", "checkbox"].includes(field.type));
}
