// The dialog with the keyboard shortcuts.
import { data } from "./data.js";
import { createButton, createElement } from "./dom.js";

const SHORTCUTS = {
  Anywhere: [
    ["n, p", "next, previous group"],
    ["[ and ]", "previous, next page of the list"],
    ["/", "search by name"],
    ["z", "undo the last decision"],
    ["?", "show the shortcuts"],
  ],
  "On a group": [
    ["← →", "choose an image"],
    ["k, d", "keep, drop the chosen image"],
    ["1 … 9", "drop the first … ninth image"],
    ["u", "clear the decision on the chosen image, or on the group"],
    ["a", "accept the suggestion"],
    ["x", "not duplicates: keep all"],
    ["Enter", "compare the images"],
  ],
  Comparing: [
    ["← →", "another image on the right"],
    ["k, d", "keep, drop the right image"],
    ["Shift k, d", "keep, drop the left image"],
    ["s, b, f", "side by side, blink, difference"],
    ["+ − 0", "zoom in, zoom out, whole image"],
    ["t", "align the images, or not"],
    ["l", "the two least similar images"],
    ["n, p", "next, previous group"],
  ],
};

/** Create the dialog. */
export function createShortcutsDialog() {
  const tables = Object.entries(SHORTCUTS).map(([title, shortcuts]) => {
    const rows = shortcuts.map(([keys, text]) =>
      createElement(
        "tr",
        {},
        createElement("th", { scope: "row" }, createElement("kbd", {}, keys)),
        createElement("td", {}, text),
      ),
    );
    const caption = createElement("caption", {}, title);
    return createElement("table", {}, caption, createElement("tbody", {}, ...rows));
  });
  const dialog = createElement(
    "dialog",
    { class: "help", "aria-labelledby": "help-title" },
    createElement("h2", { id: "help-title" }, "Shortcuts"),
    createElement("div", { class: "tables" }, ...tables),
    createElement(
      "p",
      { class: "note" },
      `To preview a plan, run fastdup-ray apply ${data.plan.file}. Add --execute to move the files.`,
    ),
    createButton("Close", () => dialog.close(), {}, "Esc"),
  );
  document.body.append(dialog);
  return dialog;
}
