// Small images in a grid: outliers, each with its nearest neighbor, and images with an issue.
import { data, getImage } from "./data.js";
import { createButton, createElement } from "./dom.js";
import { escapeInvisible, formatNumber, formatValue } from "./format.js";
import { createImage, createTitle } from "./images.js";
import { createRelationBadge } from "./verdicts.js";

/** Create the tile of an outlier: its image, and the nearest one while the tile has the pointer or the focus. */
export function createOutlierTile(card, open) {
  const [outlier, nearest] = card.members;
  const [name, nearestName] = card.members.map((member) => escapeInvisible(getImage(member).base));
  const value = `${data.measure} ${formatValue(card.value)}`;
  const preview = createButton("", () => open(card, 1), { class: "preview", "aria-label": `Compare ${name}` });
  const inset = createElement("span", { class: "nearest" }, createImage(nearest, { alt: false }), "nearest");
  preview.append(createImage(outlier, { alt: false }), inset);
  return createTile(card, `${name}, nearest neighbor ${nearestName}, ${value}`, preview, outlier, [
    createElement("span", { class: "facts", title: `Nearest neighbor: ${nearestName}` }, value),
    createRelationBadge(outlier, nearest),
  ]);
}

/** The items of the list of issues: kind, member (an image), and fact (what is odd). */
export function listIssues() {
  return (data.lists.issues?.kinds ?? []).flatMap(({ id, title, items }) =>
    items.map(([member, fact]) => ({ kind: id, title, member, fact })),
  );
}

/** What an issue means; of all issues how many images have each. */
export function describeIssue(kind) {
  const { kinds } = data.lists.issues;
  const counts = kinds.map(({ title, total }) => `${title.toLowerCase()} ${formatNumber(total)}`);
  return kinds.find(({ id }) => id === kind)?.rule ?? `${counts.join(" · ")}. Choose an issue to see its threshold.`;
}

/** Create the tile of an image with an issue. */
export function createIssueTile(item) {
  const name = escapeInvisible(getImage(item.member).base);
  const fact = `${item.title}: ${item.fact}`;
  const preview = createElement("div", { class: "preview" }, createImage(item.member));
  return createTile(item, `${name}, ${fact}`, preview, item.member, [
    createElement("span", { class: "facts" }, fact),
  ]);
}

function createTile(card, label, preview, member, more) {
  const tile = createElement(
    "article",
    { class: "card tile", tabindex: "0", "aria-label": label },
    createElement("figure", { class: "image" }, preview, createElement("figcaption", {}, createTitle(member), ...more)),
  );
  tile.card = card;
  return tile;
}
