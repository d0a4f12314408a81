// What is said of two images that are compared: how similar they are, and what differs.
import { data, getImage } from "./data.js";
import { createElement, isolateText } from "./dom.js";
import { escapeInvisible, formatBytes, formatPercent, formatPixels, formatValue } from "./format.js";
import { explainKeeper, getSuggestedKeeper, getSuggestion } from "./keeper_rules.js";
import { getPairSimilarity } from "./similarity.js";
import { explainSuggestion } from "./suggestions.js";
import { describeVerdict, findVerdict, hasVerdicts, NOT_COMPARED } from "./verdicts.js";

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
    rows.push(["Suggestion", ...positions.map((position) => describeSuggestion(card, position))]);
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

/** What is suggested for an image of a card, with the whole reason. */
function describeSuggestion(card, position) {
  const reason = explainKeeper(card, position);
  if (reason) return `Keep: ${escapeInvisible(reason)}`;
  const suggestion = explainSuggestion(card, position);
  const why = getSuggestedKeeper(card, position) >= 0 ? getSuggestion(card, position).reason : "";
  return why ? `${suggestion} (${escapeInvisible(why)})` : suggestion;
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
    verdict ? [verdict.relation, describeVerdict(verdict)].filter(Boolean).join(": ") : NOT_COMPARED,
  );
}
