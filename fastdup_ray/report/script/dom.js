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

const SVG = "http://www.w3.org/2000/svg";

/** Create an icon of 16 by 16 from the outline of a path. */
export function createIcon(outline) {
  const [icon, path] = ["svg", "path"].map((tag) => document.createElementNS(SVG, tag));
  icon.setAttribute("viewBox", "0 0 16 16");
  icon.setAttribute("aria-hidden", "true");
  path.setAttribute("d", outline);
  icon.append(path);
  return icon;
}

/** Isolate a text of unknown origin, such as a name, so that its direction of writing does not affect what follows. */
export function isolateText(text, attributes = {}, children = []) {
  return createElement("bdi", attributes, text, ...children);
}

const MESSAGE_SECONDS = 6;
const CHARACTERS_PER_SECOND = 12; // that can be read
const clearing = new WeakMap(); // box -> timer

/** Say what was done, in the dialog or in the bar at the bottom, for some seconds; screen readers announce it. */
export function announce(text) {
  const box = document.querySelector("dialog[open] .message") ?? document.getElementById("message");
  box.textContent = escapeInvisible(text);
  clearTimeout(clearing.get(box));
  const seconds = Math.max(MESSAGE_SECONDS, text.length / CHARACTERS_PER_SECOND);
  clearing.set(
    box,
    setTimeout(() => (box.textContent = ""), 1000 * seconds),
  );
}

/** Whether a key press belongs to a text field, or to a shortcut of the browser. */
export function isTyping(event) {
  const field = event.target.closest?.("input, select, textarea");
  return event.ctrlKey || event.metaKey || event.altKey || (field && !["range", "checkbox"].includes(field.type));
}

/** Let the browser save a file. parts: of a Blob. */
export function download(name, type, parts) {
  const url = URL.createObjectURL(new Blob(parts, { type }));
  createElement("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}
