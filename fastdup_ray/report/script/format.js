// Numbers and names as text for people.
import { data } from "./data.js";

const numberFormat = new Intl.NumberFormat("en-US");
const invisible = new RegExp(data.invisible, "gu");

const SHORT_ESCAPES = { "\n": "\\n", "\r": "\\r", "\t": "\\t" };

/** How two exact duplicates are equal. */
export const EXACT_KINDS = { bytes: "same bytes", pixels: "same pixels" };

export function formatNumber(number) {
  return numberFormat.format(number);
}

/** "1 image", "2,000 images". */
export function formatCount(count, singular, plural = singular + "s") {
  return `${formatNumber(count)} ${count === 1 ? singular : plural}`;
}

export function formatValue(value) {
  return value === null || value === undefined ? "unknown" : value.toFixed(4);
}

/** A similarity such as "99.6 %"; "100 %" only for 1. */
export function formatPercent(similarity) {
  if (similarity === null || similarity === undefined) return "unknown";
  if (similarity >= 1) return "100 %";
  return `${Math.min(Math.max(100 * similarity, 0), 99.9).toFixed(1)} %`;
}

export function formatBytes(size) {
  if (size === null) return "size unknown";
  if (size < 1000) return formatCount(size, "byte");
  let unit = 0;
  for (; size >= 999.5; unit++) size /= 1000;
  return `${Number(size.toPrecision(3))} ${" kMGTPE"[unit]}B`;
}

export function formatPixels(image) {
  return image.width ? `${image.width} × ${image.height}` : "size unknown";
}

/** A text with escapes for invisible characters, and for those that change the direction of writing. */
export function escapeInvisible(text) {
  return text.replace(invisible, (character) => {
    if (SHORT_ESCAPES[character]) return SHORT_ESCAPES[character];
    const code = character.codePointAt(0);
    const [letter, digits] = code < 0x100 ? ["x", 2] : code < 0x10000 ? ["u", 4] : ["U", 8];
    return `\\${letter}${code.toString(16).padStart(digits, "0")}`;
  });
}
