// Rows of a plan, and the plan files that the commands `plan` and `apply` read and write.
import { formatCsv, parseCsv } from "./csv.js";
import { data, getImage } from "./data.js";
import { describeDuplicate } from "./keeper_rules.js";
import { findSimilarity } from "./similarity.js";

const OPTIONAL = "run"; // plans of earlier versions do not have this column
const formula = new RegExp(`^(?=${data.plan.formula})`); // what a spreadsheet would run as a formula, see formulas.py
const escapedFormula = new RegExp(`^'(?=${data.plan.formula})`);

export const KEEP = "keep";
export const DROP = "drop";

const NO_KEEPER = { keeper: "", keeper_hex: undefined, similarity: null };
const KEPT_BY_HAND = { ...NO_KEEPER, rule: data.plan.by_hand, reason: "kept by hand" };

/** The unique key of the image that a column of a row names. */
export function getKey(row, column) {
  return row[`${column}_hex`] || row[column];
}

export function formatPlanJson(rows) {
  return JSON.stringify({ format: data.plan.format, pictures: rows }) + "\n";
}

/** The parts of a Blob. */
export function formatPlanCsv(rows) {
  const header = data.plan.columns.map((text) => ({ text, hex: "" }));
  return formatCsv([header, ...rows.map((row) => data.plan.columns.map((column) => makeCell(row, column)))]);
}

/** The rows of a plan, JSON or CSV. Throws an Error with one line. */
export function parsePlan(bytes) {
  const isJson = bytes[0] === 0x7b; // {
  return isJson ? parseJson(bytes) : parseRows(bytes);
}

/** Make the row of an image of this page. evidence: {rule, reason, similarity}. keeper: of a dropped image. */
export function makeRow(number, action, group, { rule, reason, similarity }, keeper = null) {
  const image = getImage(number);
  const row = {
    filename: image.name,
    action,
    group,
    keeper: keeper ? keeper.name : "",
    similarity: keeper ? similarity : null,
    rule: rule ?? data.plan.by_hand,
    reason: reason || "the keeper",
    size: image.size,
    sha256: image.sha256,
    etag: image.etag,
    reference: image.reference,
    run: data.plan.run,
  };
  if (image.hex) row.filename_hex = image.hex;
  if (keeper?.hex) row.keeper_hex = keeper.hex;
  return row;
}

/** What is known of an image and the one that a person drops it for. keeper: as `Decisions` has it. */
export function describeEvidence(card, number, keeper) {
  if (keeper.number === undefined) return { reason: "duplicate of its keeper", similarity: null };
  const similarity = findSimilarity(card, number, keeper.number);
  const { suggestion } = getImage(number);
  if (suggestion?.keeper === keeper.number) return { reason: suggestion.reason, similarity };
  return { reason: `${describeDuplicate(card, number, keeper.number)} its keeper`, similarity };
}

function makeCell(row, column) {
  const value = row[column] ?? "";
  const plain = typeof value === "boolean" ? String(Number(value)) : String(value);
  const text = data.plan.texts.includes(column) ? plain.replace(formula, "'") : plain;
  return row[`${column}_hex`] ? { text: "", hex: row[`${column}_hex`] } : { text, hex: "" };
}

function parseJson(bytes) {
  let content;
  try {
    content = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch (error) {
    throw new Error(`Not a plan: ${error.message}`);
  }
  if (content.format !== data.plan.format || !Array.isArray(content.pictures)) {
    throw new Error(`Not a plan: the format must be "${data.plan.format}".`);
  }
  return content.pictures.map((row) => checkRow({ ...row }));
}

function parseRows(bytes) {
  const [header = [], ...rows] = parseCsv(bytes);
  const names = header.map(({ text }) => text);
  const missing = data.plan.columns.find((column) => column !== OPTIONAL && !names.includes(column));
  if (missing) throw new Error(`Not a plan: the column ${missing} is missing.`);
  return rows.map((cells) => {
    const row = {};
    for (const column of data.plan.columns) {
      const { text, hex } = cells[names.indexOf(column)] ?? { text: "", hex: "" };
      row[column] = hex
        ? decodePrintable(hex)
        : data.plan.texts.includes(column)
          ? text.replace(escapedFormula, "")
          : text;
      if (hex) row[`${column}_hex`] = hex;
    }
    for (const column of ["similarity", "size"]) row[column] = row[column] === "" ? null : Number(row[column]);
    row.group = Number(row.group);
    row.reference = row.reference === "1";
    return checkRow(row);
  });
}

/** A name that is not UTF-8, as text for people: bytes that are not printable ASCII become \xNN. */
function decodePrintable(hex) {
  return hex.replace(/../g, (pair) => {
    const byte = parseInt(pair, 16);
    return byte >= 0x20 && byte < 0x7f ? String.fromCharCode(byte) : `\\x${pair}`;
  });
}

function checkRow(row) {
  const action = String(row.action ?? "")
    .trim()
    .toLowerCase();
  if (typeof row.filename !== "string" || ![KEEP, DROP].includes(action)) {
    throw new Error(`Not a plan: the action of ${JSON.stringify(row.filename ?? null)} must be ${KEEP} or ${DROP}.`);
  }
  // a dropped image that somebody has decided to keep
  const isKeptByHand = action === KEEP && row.keeper;
  return { ...row, action, ...(isKeptByHand && KEPT_BY_HAND) };
}
