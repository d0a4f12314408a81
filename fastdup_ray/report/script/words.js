// Numbers and names as people read them.
import { data } from "./data.js";

const plain = new Intl.NumberFormat("en-US");
const hidden = new RegExp(data.invisible, "gu");

const SHORT = { "\n": "\\n", "\r": "\\r", "\t": "\\t" };

export function number(value) {
  return plain.format(value);
}

/** "1 picture", "2,000 pictures". */
export function counted(count, one, several = one + "s") {
  return `${number(count)} ${count === 1 ? one : several}`;
}

export function value(measured) {
  return measured === null || measured === undefined ? "unknown" : measured.toFixed(4);
}

export function bytes(size) {
  if (size === null) return "size unknown";
  if (size < 1000) return counted(size, "byte");
  let unit = 0;
  for (; size >= 999.5; unit++) size /= 1000;
  return `${Number(size.toPrecision(3))} ${" kMGTPE"[unit]}B`;
}

/** A text to show: invisible characters, and those that turn its direction, as escapes. */
export function visible(text) {
  return text.replace(hidden, (character) => {
    if (SHORT[character]) return SHORT[character];
    const code = character.codePointAt(0);
    const [letter, digits] = code < 0x100 ? ["x", 2] : code < 0x10000 ? ["u", 4] : ["U", 8];
    return `\\${letter}${code.toString(16).padStart(digits, "0")}`;
  });
}

export function pixels(picture) {
  return picture.width ? `${picture.width} × ${picture.height}` : "size unknown";
}

export const EXACT = { bytes: "same bytes", pixels: "same pixels" };
