// Numbers and names as people read them.
import { data } from "./data.js";

const plain = new Intl.NumberFormat("en-US");
const hidden = new RegExp(data.invisible, "g");

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

/** A name as what it is: control characters, and those that turn the direction of a text, as escapes. */
export function visible(text) {
  return text.replace(hidden, (character) => {
    const code = character.charCodeAt(0);
    if (SHORT[character]) return SHORT[character];
    return code < 256 ? `\\x${code.toString(16).padStart(2, "0")}` : `\\u${code.toString(16).padStart(4, "0")}`;
  });
}

export function pixels(picture) {
  return picture.width ? `${picture.width} × ${picture.height}` : "size unknown";
}

export const EXACT = { bytes: "same bytes", pixels: "same pixels" };
