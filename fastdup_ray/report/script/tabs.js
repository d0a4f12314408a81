// The tabs of the page, each with a list: the title, items, orders and texts of each.
import { getReclaim, getRelations, makePairCard, ROW_HEIGHT } from "./cards.js";
import { addConfirmedGroups, addConfirmedPairs } from "./confirmed.js";
import { data, getImage } from "./data.js";
import { createElement, isolateText } from "./dom.js";
import { escapeInvisible, formatCount, formatNumber, formatValue } from "./format.js";
import { createCaption, createFigure, createImage } from "./images.js";
import { hasVerdicts } from "./verdicts.js";

const descending = (key) => (a, b) => key(b) - key(a);
const ascending = (key) => (a, b) => key(a) - key(b);
const byText = (key) => (a, b) => (key(a) < key(b) ? -1 : 1);
const inFileOrder = () => 0;
const getFirstName = (card) => getImage(card.members[0]).name;
const getNames = (card) => card.members.map((member) => getImage(member).name);

const GROUP_ORDERS = {
  size: ["most images first", descending((card) => card.count)],
  bytes: ["most reclaimable first", descending((card) => card.reclaim)],
  loosest: ["lowest similarity first", ascending((card) => card.lowest)],
  tightest: ["highest similarity first", descending((card) => card.lowest)],
  name: ["name of the keeper", byText(getFirstName)],
};

const makePairOrders = (first, last) => ({
  file: [first, inFileOrder],
  reverse: [last, inFileOrder],
  bytes: ["most reclaimable first", descending(getReclaim)],
  name: ["name", byText(getFirstName)],
});

const CHAINS = 'Groups can chain together images that differ: check "lowest similarity".';
const SUGGESTIONS =
  "A badge has the relation to the keeper. Only what is the same as an image that is kept is suggested to be dropped.";

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

/**
 * The lists that this page has. Each has: id, title, total, file (with the full list), items, orders, getTexts (what is
 * searched), note, shown (which items, if not all), none (the text if there are none); for cards also getTitle,
 * decidable, getRelations, and getValue (what the slider filters by); else createItem, or asTable. With confirmed pairs
 * also what `addConfirmedGroups` returns.
 */
export function makeTabs() {
  const { lists, scored } = data;
  const all = [];
  const add = (id, title, list) =>
    list &&
    all.push({ id, items: [], total: lists[id].total, file: lists[id].file, title, getTexts: getNames, ...list });
  const makeCards = (rows, titles) => rows.map((row) => makePairCard(row, titles));
  const numberedAs = (name) => (card, position) => `${name} ${formatNumber(position + 1)}`;
  const getPairValue = (card) => card.value;
  const bySimilarity = makePairOrders("most similar first", "least similar first");
  const titles = scored ? ["new", "indexed"] : [];
  const linkedAbove = data.ccthreshold ?? "ccthreshold";

  add(
    "groups",
    "Groups",
    lists.groups && {
      ...addConfirmedGroups(
        lists.groups,
        `Images linked by similarity above ${linkedAbove}. ${hasVerdicts ? SUGGESTIONS : CHAINS}`,
        `Images linked by similarity above ${linkedAbove}, or by confirmed pairs. ${SUGGESTIONS}`,
      ),
      orders: GROUP_ORDERS,
      getValue: data.cosine ? (card) => card.lowest : null,
      decidable: true,
      getTitle: numberedAs("Group"),
      getRelations,
      shown: "the largest, those with the most reclaimable bytes, and the loosest",
      none: `No groups: no two images are more similar than ${linkedAbove}.`,
    },
  );
  add(
    "exact",
    "Exact duplicates",
    lists.exact && {
      items: lists.exact.items,
      orders: GROUP_ORDERS,
      decidable: true,
      getTitle: numberedAs("Set"),
      getRelations,
      shown: "the largest",
      note: "Files with the same bytes, or different files with the same pixels.",
      none: "No exact duplicates.",
    },
  );
  add(
    "leakage",
    "Leakage",
    lists.leakage && {
      items: makeCards(lists.leakage.items, ["new", "indexed"]),
      orders: makePairOrders("exact duplicates first", "reverse order"),
      getValue: getPairValue,
      decidable: true,
      getTitle: numberedAs("Leak"),
      shown: "exact duplicates and the most similar",
      note: describeLeaks(lists.leakage),
      none: "No new image is similar to an indexed image.",
    },
  );
  add("pairs", "Pairs", {
    ...addConfirmedPairs(
      lists.pairs,
      scored
        ? "New images, each with its nearest indexed neighbors above the threshold."
        : "Images with their nearest neighbors above the threshold. Each pair is listed once.",
      (rows) => makeCards(rows, titles),
    ),
    orders: bySimilarity,
    getValue: getPairValue,
    decidable: true,
    getTitle: numberedAs("Pair"),
    getRelations,
    shown: "the most similar",
    none: "No pairs: no two images are more similar than the threshold.",
  });
  add("outliers", "Outliers", {
    items: makeCards(lists.outliers.items, ["outlier", "nearest neighbor"]),
    orders: makePairOrders("most unusual first", "reverse order"),
    getRelations,
    getTitle: numberedAs("Outlier"),
    shown: "the most unusual",
    note: "Images whose nearest neighbor is less similar than lower_threshold, next to that neighbor.",
    none: "No outliers: the nearest neighbor of each image is at least as similar as lower_threshold.",
  });
  add(
    "conflicts",
    "Labels",
    lists.conflicts && {
      items: makeCards(lists.conflicts.items, titles),
      orders: bySimilarity,
      getValue: getPairValue,
      getRelations,
      getTitle: numberedAs("Pair"),
      shown: "the most similar",
      note: "Pairs above the threshold with different labels.",
      none: "No pairs above the threshold have different labels.",
    },
  );
  add("bad", "Bad files", {
    items: lists.bad.items,
    orders: { name: ["name", byText((row) => row[0])], code: ["reason", byText((row) => row[1] + row[0])] },
    getTexts: (row) => row,
    asTable: true,
    pageSize: 100,
    shown: "the first",
    note: lists.bad.codes.map(([code, count]) => `${formatNumber(count)} ${code}`).join(", "),
    none: "No bad files.",
  });
  add(
    "changes",
    "What changed",
    lists.changes && {
      items: makeChanges(lists.changes.items),
      orders: { file: ["kind of change", inFileOrder] },
      getTexts: (item) => item.names,
      createItem: createChange,
      note: describeChanges(lists.changes.counts),
      none: "Nothing changed since the last run.",
    },
  );
  add(
    "extremes",
    "Dark, bright, blurred",
    lists.extremes && {
      items: lists.extremes,
      total: lists.extremes.length,
      orders: { file: ["kind", inFileOrder] },
      getTexts: (item) => item.items.map(([member]) => getImage(member).name),
      createItem: createExtreme,
      note: "The images with the lowest and the highest brightness (from 0 to 255), and the most blurred ones. A lower value of blur means a more blurred image.",
    },
  );
  return all;
}

/** The cards that decisions are made on. */
export function getDecidableCards(lists) {
  const groups = lists.filter((list) => ["groups", "exact"].includes(list.id));
  return [...new Set(groups.flatMap((list) => [...list.items, ...(list.confirmed?.items ?? [])]))];
}

function describeLeaks({ total, exact, of }) {
  const all = `${formatNumber(total)} of ${formatCount(of, "new image")}`;
  const near = formatNumber(total - exact);
  return `${all} duplicate an indexed image: ${formatNumber(exact)} exact, ${near} near duplicates.`;
}

function describeChanges(counts) {
  const texts = Object.entries(counts ?? {}).map(
    ([name, count]) => `${name.replaceAll("_", " ")}: ${formatNumber(count)}`,
  );
  return texts.length ? `Since the last finished run: ${texts.join(", ")}.` : "";
}

/** Items from rows of changes.csv; the rows of one group become one item. */
function makeChanges(rows) {
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

function createChange(item) {
  const count = item.images.length > 2 ? `, ${formatCount(item.images.length, "image")}` : "";
  const value = item.distance ? `, ${data.measure} ${formatValue(Number(item.distance))}` : "";
  const elements = item.images.map(([name, member]) =>
    member >= 0
      ? createFigure(member, ROW_HEIGHT, { class: "image" }, createImage(member), createCaption(member))
      : createElement("p", {}, isolateText(escapeInvisible(name))),
  );
  return createPlainCard(`${CHANGES[item.change] ?? item.change}${count}${value}`, elements);
}

function createExtreme(item) {
  const elements = item.items.map(([member, value]) => {
    const fact = createElement("span", { class: "facts role" }, `${item.column} ${value.toFixed(1)}`);
    return createFigure(member, ROW_HEIGHT, { class: "image" }, createImage(member), createCaption(member, fact));
  });
  return createPlainCard(item.title, elements);
}

function createPlainCard(title, elements) {
  return createElement(
    "article",
    { class: "card", tabindex: "0", "aria-label": title },
    createElement("header", {}, createElement("h3", {}, title)),
    createElement("div", { class: "strip" }, ...elements),
  );
}

/** Create the table of bad files. */
export function createBadTable(rows) {
  const headings = ["File", "Code", "Reason"].map((text) => createElement("th", { scope: "col" }, text));
  const body = rows.map(([name, code, message]) => {
    const cut = name.lastIndexOf("/") + 1;
    const file = [
      isolateText(escapeInvisible(name.slice(cut)), { class: "name" }),
      isolateText(escapeInvisible(name.slice(0, cut)), { class: "folder" }),
    ];
    return createElement(
      "tr",
      {},
      createElement("td", {}, ...file),
      createElement("td", {}, createElement("code", {}, code)),
      createElement("td", {}, escapeInvisible(message)),
    );
  });
  const head = createElement("thead", {}, createElement("tr", {}, ...headings));
  return createElement("table", { class: "bad" }, head, createElement("tbody", {}, ...body));
}
