// The tabs of the page, each with a list: the title, items, orders and texts of each.
import { createBadTable, describeBadFiles } from "./bad_table.js";
import { getReclaim, getRelations, makePairCard } from "./cards.js";
import { createChange, describeChanges, makeChanges } from "./changes.js";
import { addConfirmedGroups, addConfirmedPairs } from "./confirmed.js";
import { data, getGroupNumber, getImage } from "./data.js";
import { formatCount, formatNumber } from "./format.js";
import { createIssueTile, createOutlierTile, describeIssue, listIssues } from "./image_tiles.js";
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

const SUGGESTIONS = hasVerdicts
  ? "Badges have the relation to the first image. Only what is the same as an image that is kept is suggested to be dropped."
  : `${describeSimilarityRule()} Groups can chain together images that differ: check "lowest similarity".`;

/**
 * The lists that this page has. Each has: id, title, total, file (with the full list), items, orders, getTexts (what is
 * searched), note, shown (which items, if not all), none (the text if there are none); for cards also noun, getTitle,
 * decidable, getRelations, and getValue (what the slider filters by); else createItem, or createTable; for a grid of small
 * images isGrid. kinds and describe: the kinds of items that are filtered by, and what is said of one. With confirmed
 * pairs also what `addConfirmedGroups` returns.
 */
export function makeTabs() {
  const { lists, scored } = data;
  const all = [];
  const add = (id, title, list) =>
    list &&
    all.push({ id, items: [], total: lists[id].total, file: lists[id].file, title, getTexts: getNames, ...list });
  const makeCards = (rows, titles) => rows.map((row) => makePairCard(row, titles));
  const numberedAs = (name) => (card, position) => `${name} ${formatNumber(position + 1)}`;
  const getGroupTitle = (card, position) => {
    const number = getGroupNumber(card.members);
    return number === null ? `Group ${formatNumber(position + 1)}` : `Group #${number}`;
  };
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
        `Images linked by similarity above ${linkedAbove}. ${SUGGESTIONS}`,
        `Images linked by similarity above ${linkedAbove}, or by confirmed pairs. ${SUGGESTIONS}`,
      ),
      describe: describeHeld,
      orders: GROUP_ORDERS,
      getValue: data.cosine ? (card) => card.lowest : null,
      decidable: true,
      noun: "group",
      getTitle: getGroupTitle,
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
      noun: "group",
      getTitle: getGroupTitle,
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
    noun: "pair",
    getTitle: numberedAs("Pair"),
    getRelations,
    shown: "the most similar",
    none: "No pairs: no two images are more similar than the threshold.",
  });
  add("outliers", "Outliers", {
    items: makeCards(lists.outliers.items, ["outlier", "nearest neighbor"]),
    orders: makePairOrders("most unusual first", "reverse order"),
    getRelations,
    noun: "outlier",
    getTitle: numberedAs("Outlier"),
    isGrid: true,
    pageSize: 60,
    createItem: createOutlierTile,
    shown: "the most unusual",
    note: `Images unlike all others: their nearest neighbor is less similar than ${data.lower_threshold ?? "lower_threshold"}. Nothing has to be done about them, but images that do not belong in the collection are often here. Point at one to see its nearest neighbor.`,
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
      noun: "pair",
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
    createTable: createBadTable,
    pageSize: 100,
    shown: "the first",
    note: `${describeBadFiles()}.`,
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
    "issues",
    "Image issues",
    lists.issues && {
      items: listIssues(),
      orders: { file: ["worst first", inFileOrder], name: ["name", byText(({ member }) => getImage(member).name)] },
      kinds: lists.issues.kinds
        .filter(({ total }) => total)
        .map(({ id, title, total }) => [id, `${title} (${formatNumber(total)})`]),
      getTexts: ({ member }) => [getImage(member).name],
      isGrid: true,
      pageSize: 60,
      createItem: createIssueTile,
      shown: "the worst of each kind",
      describe: describeIssue,
      none: "No dark, bright, blurred, blank or odd images.",
    },
  );
  return all.filter((list) => list.total || list.confirmed);
}

/** What is suggested to be dropped after a run that verified no pairs. */
function describeSimilarityRule() {
  const isExact = data.dropped_above === 1;
  return `Suggested to be dropped: images with the same bytes${isExact ? "" : `, or more similar than ${data.dropped_above}`}.`;
}

/** How many duplicates are not suggested to be dropped because of their sidecars; "" if none. */
function describeHeld() {
  const { held } = data.plan;
  return held
    ? `${formatCount(held, "duplicate")} ${held === 1 ? "is" : "are"} not suggested: sidecars, such as annotations, are missing beside the keeper or differ there.`
    : "";
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
