// What is said of two images that are compared: how similar they are, and what differs.
import { data, getImage } from "./data.js";
import { createElement, isolateText } from "./dom.js";
import { escapeInvisible, formatBytes, formatPercent, formatPixels, formatValue } from "./format.js";
import { explainKeeper } from "./keeper_rules.js";
import { describeVerdict, findVerdict, hasVerdicts } from "./verdicts.js";

/** The similarity of the images at two positions of a card; null if the page does not know it. */
function getPairSimilarity(card, left, right) {
  const [low, high] = [Math.min(left, right), Math.max(left, right)];
  if (card.isPair) return card.value;
  if (low === high) return 1;
  if (low === 0) return card.similarity[high];
  const rows = (1 + Math.sqrt(1 + 8 * card.between.length)) / 2; // images besides the first
  if (high <= rows) return card.between[(low - 1) * rows - ((low - 1) * low) / 2 + (high - low - 1)];
  return [low, high].every((position) => card.least_similar.includes(position)) ? card.lowest : null;
}

/** The same in words. */
export function describeSimilarity(card, left, right) {
  const similarity = getPairSimilarity(card, left, right);
  if (similarity === null) return data.cosine ? "similarity not stored" : "";
  return data.cosine ? `${formatPercent(similarity)} similar` : `${data.measure} ${formatValue(similarity)}`;
}

/** A table of what differs, and one line with what does not. */
export function createComparison(card, positions) {
  const images = positions.map((position) => getImage(card.members[position]));
  const rows = [
    ["Name", (image) => escapeInvisible(image.base)],
    ["Folder", (image) => escapeInvisible(image.folder)],
    ["Pixels", formatPixels],
    ["Size", (image) => formatBytes(image.size)],
    ["Format", (image) => image.format || "unknown"],
    ["Date", (image) => image.date || "unknown"],
    ["Label", (image) => escapeInvisible(image.label)],
  ].map(([head, describe]) => [head, ...images.map(describe)]);
  if (!card.isPair) {
    const roles = positions.map((position) => explainKeeper(card, position));
    rows.push(["Keeper", ...roles.map((reason) => (reason ? `keeper (${escapeInvisible(reason)})` : ""))]);
  }
  const equal = rows.filter(([, first, second]) => first === second && first);
  const table = createElement(
    "table",
    { class: "compared" },
    ...rows.filter(([, first, second]) => first !== second).map(createRow),
    hasVerdicts && createRow(["Relation", ...describeRelation(images)]),
  );
  const texts = equal.map(([head, text]) => `${head.toLowerCase()} ${text}`);
  return [table, texts.length > 0 && createElement("p", { class: "note equal" }, `Equal: ${texts.join(" · ")}`)];
}

function createRow([head, first, second]) {
  const cells = first === second ? [[first, 2]] : [first, second].map((text) => [text, null]);
  return createElement(
    "tr",
    {},
    createElement("th", { scope: "row" }, head),
    ...cells.map(([text, colspan]) => createElement("td", { colspan }, isolateText(text))),
  );
}

/** What each image is to the other one, with the evidence. */
function describeRelation([left, right]) {
  return [findVerdict(left.number, right.number), findVerdict(right.number, left.number)].map((verdict) =>
    verdict ? `${verdict.relation}: ${describeVerdict(verdict)}` : "not compared",
  );
}
