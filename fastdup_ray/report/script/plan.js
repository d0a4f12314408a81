// A plan as rows, and as the files that the commands plan and apply read and write.
import { formatCsv, parseCsv } from "./csv.js";
import { data, picture } from "./data.js";
import { EXACT } from "./words.js";

const OPTIONAL = "run"; // which plans of earlier versions do not have
const formula = new RegExp(`^(?=${data.plan.formula})`); // what a spreadsheet would take for one, see formulas.py
const escapedFormula = new RegExp(`^'(?=${data.plan.formula})`);

export const KEEP = "keep";
export const DROP = "drop";

/** What tells the picture named in a column of a row from all others. */
export function keyOf(row, column) {
  return row[`${column}_hex`] || row[column];
}

export function jsonOf(rows) {
  return JSON.stringify({ format: data.plan.format, pictures: rows }) + "\n";
}

/** The parts of a Blob. */
export function csvOf(rows) {
  const header = data.plan.columns.map((text) => ({ text, hex: "" }));
  return formatCsv([header, ...rows.map((row) => data.plan.columns.map((column) => cell(row, column)))]);
}

/** The rows of a plan, JSON or CSV; raises `Error` with one line. */
export function readPlan(bytes) {
  return bytes[0] === 0x7b ? rowsOfJson(bytes) : rowsOfCsv(bytes);
}

/** A row of the plan on a picture of this page. */
export function ownRow(number, group, chosen, keeper = null, card = null) {
  const own = picture(number);
  const given = keeper !== null && keeper === chosen.keeper;
  const made = {
    filename: own.name,
    action: chosen.action,
    group,
    keeper: keeper ? keeper.name : "",
    similarity: keeper ? (given ? chosen.likeness : likeness(own, keeper, card)) : null,
    rule: chosen.rule ?? data.plan.by_hand,
    reason: chosen.reason || (keeper ? `${copyOf(own, keeper, card)} its keeper` : "the one that is kept"),
    size: own.size,
    sha256: own.sha256,
    etag: own.etag,
    reference: own.reference,
    run: data.plan.run,
  };
  if (own.hex) made.filename_hex = own.hex;
  if (keeper?.hex) made.keeper_hex = keeper.hex;
  return made;
}

function copyOf(own, keeper, card) {
  if (own.sha256 && own.sha256 === keeper.sha256) return `${EXACT.bytes} as`;
  const place = card.members.indexOf(own.number);
  const exact = card.members[0] === keeper.number && card.kind?.[place];
  return exact ? `${EXACT[exact]} as` : "near copy of";
}

/** Their cosine, as far as the page knows it: each picture's with the suggested keeper of its card. */
function likeness(own, keeper, card) {
  if (own.sha256 && own.sha256 === keeper.sha256) return 1;
  const [a, b] = [own.number, keeper.number].map((number) => card.members.indexOf(number));
  if (!data.cosine && card.isPair) return null;
  if (b === 0) return card.similarity?.[a] ?? null;
  return a === 0 ? (card.similarity?.[b] ?? null) : null;
}

function cell(row, column) {
  const content = row[column] ?? "";
  const words = typeof content === "boolean" ? String(Number(content)) : String(content);
  const text = data.plan.texts.includes(column) ? words.replace(formula, "'") : words;
  return row[`${column}_hex`] ? { text: "", hex: row[`${column}_hex`] } : { text, hex: "" };
}

function rowsOfJson(bytes) {
  let content;
  try {
    content = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch (error) {
    throw new Error(`This is no plan: ${error.message}`);
  }
  if (content.format !== data.plan.format || !Array.isArray(content.pictures)) {
    throw new Error(`This is no plan: its format is not ${data.plan.format}.`);
  }
  return content.pictures.map((row) => checked({ ...row }));
}

function rowsOfCsv(bytes) {
  const [header = [], ...rows] = parseCsv(bytes);
  const names = header.map(({ text }) => text);
  const missing = data.plan.columns.find((column) => column !== OPTIONAL && !names.includes(column));
  if (missing) throw new Error(`This is no plan: the column ${missing} is missing.`);
  return rows.map((cells) => {
    const made = {};
    for (const column of data.plan.columns) {
      const { text, hex } = cells[names.indexOf(column)] ?? { text: "", hex: "" };
      made[column] = hex ? printable(hex) : data.plan.texts.includes(column) ? text.replace(escapedFormula, "") : text;
      if (hex) made[`${column}_hex`] = hex;
    }
    for (const column of ["similarity", "size"]) made[column] = made[column] === "" ? null : Number(made[column]);
    made.group = Number(made.group);
    made.reference = made.reference === "1";
    return checked(made);
  });
}

/** A name that is not UTF-8, for people: other bytes as \xNN. */
function printable(hex) {
  return hex.replace(/../g, (pair) => {
    const byte = parseInt(pair, 16);
    return byte >= 0x20 && byte < 0x7f ? String.fromCharCode(byte) : `\\x${pair}`;
  });
}

function checked(row) {
  const action = String(row.action ?? "")
    .trim()
    .toLowerCase();
  if (typeof row.filename !== "string" || ![KEEP, DROP].includes(action)) {
    throw new Error(`This is no plan: ${KEEP} or ${DROP} is missing of ${JSON.stringify(row.filename ?? null)}.`);
  }
  return { ...row, action };
}
