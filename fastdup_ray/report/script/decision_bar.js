// The bar at the bottom: the totals of the decisions, and the plan file.
import { data, server } from "./data.js";
import { announce, createButton, createElement, download } from "./dom.js";
import { escapeInvisible, formatBytes, formatCount, formatNumber } from "./format.js";
import { createMenu } from "./menu.js";
import { persistDecisions } from "./persistence.js";

/** Fill the bar. showShortcuts opens the dialog with the shortcuts. */
export function createDecisionBar(decisions, showShortcuts) {
  const totals = createElement("p", { class: "totals", role: "status" });
  const saveState = createElement("p", { class: "note", id: "save-state" });
  const message = createElement("p", { id: "message", role: "status", "aria-live": "polite" });
  const file = createElement("input", {
    type: "file",
    accept: ".csv,.json",
    id: "plan-file",
    class: "file",
    tabindex: "-1",
    "aria-label": "Plan file",
  });
  file.addEventListener("change", () => loadPlan(decisions, file));
  // Where a server saves each decision, there is nothing to do to keep them.
  const csv = createButton("Download plan", () => downloadPlan("plan.csv", "text/csv", decisions.toCsv()), {
    class: server ? null : "strong",
  });
  const json = createButton("Download plan.json", () =>
    downloadPlan("plan.json", "application/json", [decisions.toJson()]),
  );
  const load = createButton("Load plan…", () => file.click());
  const undo = createButton("Undo", () => announce(decisions.undo()), {}, "z");
  const clear = createButton("Clear all…", () => clearAll(decisions));
  const shortcuts = createButton("Shortcuts", showShortcuts, {}, "?");
  const bar = document.getElementById("decision-bar");
  bar.setAttribute("role", "region");
  bar.setAttribute("aria-label", "Decisions");
  bar.append(
    createElement(
      "div",
      { class: "texts" },
      totals,
      createElement("div", { class: "states" }, saveState, message),
    ),
    createElement("div", { class: "bar" }, undo, csv, createMenu("More actions", json, load, clear, shortcuts), file),
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
    undo.disabled = !decisions.canUndo;
  };
  decisions.addEventListener("change", update);
  update();
  persistDecisions(decisions, (text) => (saveState.textContent = escapeInvisible(text))).then(update);
}

function clearAll(decisions) {
  const { kept, dropped } = decisions.totals;
  if (!confirm(`Clear the decisions on ${formatCount(kept + dropped, "image")}?`)) return;
  decisions.clearAll();
  announce("Cleared all decisions. Press z to undo.");
}

function downloadPlan(name, type, parts) {
  download(name, type, parts);
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
