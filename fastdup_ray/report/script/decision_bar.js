// The bar at the bottom: the totals of the decisions, and the plan file.
import { data } from "./data.js";
import { announce, createButton, createElement } from "./dom.js";
import { escapeInvisible, formatBytes, formatCount, formatNumber } from "./format.js";
import { persistDecisions } from "./persistence.js";
import { hasVerdicts } from "./verdicts.js";

const SHORTCUTS = [
  ["n, p", "next, previous group"],
  ["1 … 9", "drop the first … ninth image of the group, or clear that decision"],
  ["k, d", "keep, drop the focused image, or the right one while comparing"],
  ["a", hasVerdicts ? "accept the suggestion" : "keep the first image, drop the rest"],
  ["x", "not duplicates: keep all"],
  ["u", "clear the decisions on the group"],
  ["z", "undo the last decision"],
  ["Enter", "compare the images of the group"],
  ["← →", "while comparing: another image on the right"],
  ["s, b, f", "while comparing: side by side, blink, difference"],
  ["t", "while comparing: align the images, or not"],
  ["l", "while comparing: the two least similar images"],
  ["[ and ]", "previous, next page of the list"],
  ["/", "search by name"],
  ["?", "show the shortcuts"],
];

/** Fill the bar. Returns the dialog with the shortcuts. */
export function createDecisionBar(decisions) {
  const totals = createElement("p", { class: "totals", role: "status" });
  const saveState = createElement("p", { class: "note", id: "save-state" });
  const message = createElement("p", { id: "message", class: "note", role: "status" });
  const file = createElement("input", {
    type: "file",
    accept: ".csv,.json",
    id: "plan-file",
    class: "file",
    tabindex: "-1",
    "aria-label": "Plan file",
  });
  file.addEventListener("change", () => loadPlan(decisions, file));
  const csv = createButton("Save plan.csv", () => download("plan.csv", "text/csv", decisions.toCsv()), {
    class: "strong",
  });
  const json = createButton("plan.json", () => download("plan.json", "application/json", [decisions.toJson()]));
  const load = createButton("Load plan…", () => file.click());
  const undo = createButton("Undo", () => undoLast(decisions), {}, "z");
  const clear = createButton("Clear all", () => decisions.clearAll());
  const shortcuts = createShortcutsDialog();
  const bar = document.getElementById("decision-bar");
  bar.setAttribute("role", "region");
  bar.setAttribute("aria-label", "Decisions");
  bar.append(
    createElement("div", { class: "texts" }, totals, message, saveState),
    createElement(
      "div",
      { class: "bar" },
      csv,
      json,
      load,
      file,
      undo,
      clear,
      createButton("Shortcuts", () => shortcuts.showModal(), {}, "?"),
    ),
  );
  const update = () => {
    const { kept, dropped, bytes, elsewhere } = decisions.totals;
    if (kept || dropped) {
      const more = elsewhere ? `, ${formatNumber(elsewhere)} of them not on this page` : "";
      totals.textContent = `${formatCount(dropped, "image")} to drop (${formatBytes(bytes)}), ${formatCount(kept, "image")} to keep${more}`;
    } else {
      const aside = createElement("span", { class: "aside" }, " Nothing is moved or deleted from this page.");
      totals.replaceChildren("No decisions yet.", aside);
    }
    for (const action of [csv, json, clear]) action.disabled = !(kept || dropped);
  };
  decisions.addEventListener("change", update);
  update();
  persistDecisions(decisions, (text) => (saveState.textContent = escapeInvisible(text)));
  return shortcuts;
}

export function undoLast(decisions) {
  announce(decisions.undo() ? "Undid the last decision." : "Nothing to undo.");
}

function download(name, type, parts) {
  const url = URL.createObjectURL(new Blob(parts, { type }));
  createElement("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
  announce(`Saved ${name}. Preview it with: fastdup-ray apply ${name} --work-dir ${data.plan.work_dir}`);
}

async function loadPlan(decisions, field) {
  const [file] = field.files;
  if (!file) return;
  try {
    decisions.read(new Uint8Array(await file.arrayBuffer()));
    announce(`Loaded ${file.name}.`);
  } catch (error) {
    announce(error.message);
  }
  field.value = "";
}

function createShortcutsDialog() {
  const rows = SHORTCUTS.map(([keys, text]) =>
    createElement(
      "tr",
      {},
      createElement("th", { scope: "row" }, createElement("kbd", {}, keys)),
      createElement("td", {}, text),
    ),
  );
  const close = createButton("Close", () => dialog.close(), {}, "Esc");
  const dialog = createElement(
    "dialog",
    { class: "help", "aria-labelledby": "help-title" },
    createElement("h2", { id: "help-title" }, "Shortcuts"),
    createElement("table", {}, ...rows),
    createElement(
      "p",
      { class: "note" },
      `To preview a plan, run fastdup-ray apply ${data.plan.file}. Add --execute to move the files.`,
    ),
    close,
  );
  document.body.append(dialog);
  return dialog;
}
