// The bar at the bottom: what is decided so far, and the plan file of it.
import { data } from "./data.js";
import { button, make, tell } from "./elements.js";
import { keepStored } from "./storing.js";
import { bytes, counted, visible } from "./words.js";

const HELP = [
  ["n, p", "next, previous card"],
  ["1 … 9", "drop the first … ninth picture of a card, or take that back"],
  ["k, d", "keep, drop the picture that has the focus, or the right one when comparing"],
  ["a", "keep the first, drop the rest"],
  ["x", "not duplicates: keep all"],
  ["u", "undecided again"],
  ["z", "undo the last decision"],
  ["Enter", "compare the pictures of a card"],
  ["← →", "when comparing: the picture on the right"],
  ["s, b, f", "when comparing: side by side, blink, difference"],
  ["l", "when comparing: the two least alike"],
  ["[ and ]", "page before, page after"],
  ["/", "search by name"],
  ["?", "this help"],
];

export function makeTray(decisions) {
  const totals = make("p", { class: "totals", role: "status" });
  const stored = make("p", { class: "note", id: "stored" });
  const file = make("input", {
    type: "file",
    accept: ".csv,.json",
    id: "plan-file",
    class: "file",
    tabindex: "-1",
    "aria-label": "A plan file",
  });
  file.addEventListener("change", () => readFile(decisions, file));
  const csv = button("Save plan.csv", () => save("plan.csv", "text/csv", decisions.toCsv()), { class: "strong" });
  const json = button("plan.json", () => save("plan.json", "application/json", [decisions.toJson()]));
  const read = button("Read a plan", () => file.click());
  const undo = button("Undo", () => undoLast(decisions), {}, "z");
  const clear = button("Forget all", () => decisions.forgetAll());
  const help = helpDialog();
  const told = make("p", { id: "told", class: "note", role: "status" });
  const tray = document.getElementById("tray");
  tray.setAttribute("role", "region");
  tray.setAttribute("aria-label", "Decisions");
  tray.append(
    make("div", { class: "words" }, totals, told, stored),
    make(
      "div",
      { class: "bar" },
      csv,
      json,
      read,
      file,
      undo,
      clear,
      button("Keys", () => help.showModal(), {}, "?"),
    ),
  );
  const update = () => {
    const { kept, dropped, bytes: size, elsewhere } = decisions.totals;
    const more = elsewhere ? `, ${counted(elsewhere, "row")} of the plan on pictures that are not on this page` : "";
    const decided = `${counted(dropped, "picture")} to drop (${bytes(size)}), ${counted(kept, "picture")} to keep${more}`;
    const aside = make("span", { class: "aside" }, " This page moves and removes nothing.");
    totals.replaceChildren(kept || dropped ? decided : "Nothing decided yet.", kept || dropped ? "" : aside);
    for (const made of [csv, json, clear]) made.disabled = !(kept || dropped);
  };
  decisions.addEventListener("change", update);
  update();
  keepStored(decisions, (text) => (stored.textContent = visible(text)));
  return { help };
}

export function undoLast(decisions) {
  tell(decisions.undo() ? "Undone." : "There is nothing to undo.");
}

function save(name, type, parts) {
  const url = URL.createObjectURL(new Blob(parts, { type }));
  make("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
  tell(`${name} is saved. Look at what it would do: fastdup-ray apply ${name} --work-dir ${data.plan.work_dir}`);
}

async function readFile(decisions, field) {
  const [chosen] = field.files;
  if (!chosen) return;
  try {
    decisions.read(new Uint8Array(await chosen.arrayBuffer()));
    tell(`${chosen.name} is read.`);
  } catch (error) {
    tell(error.message);
  }
  field.value = "";
}

function helpDialog() {
  const rows = HELP.map(([keys, words]) =>
    make("tr", {}, make("th", { scope: "row" }, make("kbd", {}, keys)), make("td", {}, words)),
  );
  const close = button("Close", () => dialog.close(), {}, "Esc");
  const dialog = make(
    "dialog",
    { class: "help", "aria-labelledby": "help-title" },
    make("h2", { id: "help-title" }, "Keys"),
    make("table", {}, ...rows),
    make(
      "p",
      { class: "note" },
      `A plan goes to fastdup-ray apply ${data.plan.file}: it shows what it would do, and moves files with --execute only.`,
    ),
    close,
  );
  document.body.append(dialog);
  return dialog;
}
