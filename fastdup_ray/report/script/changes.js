// What changed since the last finished run, as cards.
import { ROW_HEIGHT } from "./cards.js";
import { data } from "./data.js";
import { createElement, isolateText } from "./dom.js";
import { escapeInvisible, formatCount, formatNumber, formatValue } from "./format.js";
import { createCaption, createFigure, createImage } from "./images.js";

const CHANGES = {
  image_added: "New image",
  image_changed: "Changed image",
  image_removed: "Removed image",
  new_pair: "New pair",
  group_new: "New group",
  group_grew: "Group grew",
  group_shrank: "Group shrank",
  group_gone: "Group gone",
};

/** The numbers of changes in words. */
export function describeChanges(counts) {
  const texts = Object.entries(counts ?? {}).map(
    ([name, count]) => `${name.replaceAll("_", " ")}: ${formatNumber(count)}`,
  );
  return texts.length ? `Since the last finished run: ${texts.join(", ")}.` : "";
}

/** Items from rows of changes.csv; the rows of one group become one item. */
export function makeChanges(rows) {
  const items = [];
  for (const [change, component, from, to, distance, first, second] of rows) {
    const last = items.at(-1);
    const images = [[from, first], ...(to ? [[to, second]] : [])];
    if (change.startsWith("group") && last?.change === change && last.component === component) {
      last.images.push(...images);
    } else items.push({ change, component, distance, images });
  }
  for (const item of items) item.names = item.images.map(([name]) => name);
  return items;
}

/** Create the card of a change. */
export function createChange(item) {
  const count = item.images.length > 2 ? `, ${formatCount(item.images.length, "image")}` : "";
  const value = item.distance ? `, ${data.measure} ${formatValue(Number(item.distance))}` : "";
  const elements = item.images.map(([name, member]) =>
    member >= 0
      ? createFigure(member, ROW_HEIGHT, { class: "image" }, createImage(member), createCaption(member, [member]))
      : createElement("p", {}, isolateText(escapeInvisible(name))),
  );
  return createPlainCard(`${CHANGES[item.change] ?? item.change}${count}${value}`, elements);
}

function createPlainCard(title, elements) {
  return createElement(
    "article",
    { class: "card", tabindex: "0", "aria-label": title },
    createElement("header", {}, createElement("h3", {}, title)),
    createElement("div", { class: "strip" }, ...elements),
  );
}
