// A button that shows more buttons.
import { createButton, createElement } from "./dom.js";

/** A menu. It closes after a click on one of its buttons or elsewhere, and on Escape. */
export function createMenu(label, ...buttons) {
  const list = createElement("div", { class: "menu-list", hidden: true }, ...buttons);
  const toggle = createButton("…", () => setOpen(list.hidden), { "aria-label": label, "aria-expanded": "false" });
  const menu = createElement("div", { class: "menu" }, toggle, list);
  const setOpen = (isOpen) => {
    list.hidden = !isOpen;
    toggle.setAttribute("aria-expanded", String(isOpen));
    if (isOpen) list.querySelector("button:not(:disabled)")?.focus();
  };
  list.addEventListener("click", () => setOpen(false));
  document.addEventListener("click", (event) => !menu.contains(event.target) && setOpen(false));
  menu.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || list.hidden) return;
    setOpen(false);
    toggle.focus();
  });
  return menu;
}
