// The lists of the page: of each what it is called, what stands in it, and in which orders.
import { data, picture } from "./data.js";
import { foreign, make } from "./elements.js";
import { ROW_HEIGHT, pairCard, reclaimed } from "./cards.js";
import { caption, figure, image } from "./pictures.js";
import { counted, number, value, visible } from "./words.js";

const falling = (of) => (a, b) => of(b) - of(a);
const rising = (of) => (a, b) => of(a) - of(b);
const nameOf = (card) => picture(card.members[0]).name;
const byName = (of) => (a, b) => (of(a) < of(b) ? -1 : 1);
const CLOSEST_FIRST = 0; // the order of the files
const asIs = () => CLOSEST_FIRST;

const CARD_ORDERS = {
  size: ["most pictures", falling((card) => card.count)],
  bytes: ["most bytes to reclaim", falling((card) => card.reclaim)],
  chain: ["worst chain: lowest similarity", rising((card) => card.lowest)],
  alike: ["most alike", falling((card) => card.lowest)],
  name: ["name of the keeper", byName(nameOf)],
};

const pairOrders = (first, last) => ({
  file: [first, asIs],
  reverse: [last, asIs],
  bytes: ["most bytes", falling(reclaimed)],
  name: ["name", byName(nameOf)],
});

const CHANGES = {
  image_added: "New picture",
  image_changed: "Changed picture",
  image_removed: "Picture that went",
  new_pair: "New pair",
  group_new: "New group",
  group_grew: "Group that grew",
  group_shrank: "Group that shrank",
  group_gone: "Group that went",
};

const words = (item) => item.members.map((member) => picture(member).name);

/** The lists that this page has: id, title, total, items, orders, note, and how an item is filtered and shown. */
export function makeLists() {
  const { lists, scored } = data;
  const found = [];
  const add = (id, title, list) =>
    list && found.push({ id, items: [], total: lists[id].total, file: lists[id].file, title, words, ...list });
  const pairs = (rows, titles) => rows.map((row) => pairCard(row, titles));
  const far = data.cosine ? "least similar first" : "farthest first";
  const [one, other] = scored ? ["new", "indexed"] : [];

  add(
    "groups",
    "Groups",
    lists.groups && {
      items: lists.groups.items,
      orders: CARD_ORDERS,
      ranged: data.cosine ? (card) => card.lowest : null,
      decidable: true,
      named: (card, place) => `Group ${number(place + 1)}`,
      chosen: "the largest, those with the most bytes to reclaim, and the worst chains",
      note: "Pictures joined by a similarity above ccthreshold. A chain of near copies can join pictures that are not alike: the lowest similarity inside a group tells of it.",
      none: "There are none: no two pictures are more alike than ccthreshold.",
    },
  );
  add(
    "exact",
    "Exact copies",
    lists.exact && {
      items: lists.exact.items,
      total: lists.exact.total,
      orders: CARD_ORDERS,
      decidable: true,
      named: (card, place) => `Copies ${number(place + 1)}`,
      chosen: "the largest",
      note: "Files with the same bytes, or with the same pixels in another file.",
      none: "There are none.",
    },
  );
  add(
    "leakage",
    "Leakage",
    lists.leakage && {
      items: pairs(lists.leakage.items, ["new", "indexed"]),
      orders: pairOrders("exact copies, then closest first", "the other way round"),
      ranged: (card) => card.value,
      decidable: true,
      named: (card, place) => `Leak ${number(place + 1)}`,
      chosen: "exact copies and the closest",
      note: `${number(lists.leakage.total)} of ${counted(lists.leakage.of, "new picture")} stand among the indexed ones: ${number(lists.leakage.exact)} as exact copies, the others as near ones.`,
      none: "No new picture stands among the indexed ones.",
    },
  );
  add("pairs", "Pairs", {
    items: pairs(lists.pairs.items, [one, other]),
    orders: pairOrders("closest first", far),
    ranged: (card) => card.value,
    decidable: true,
    named: (card, place) => `Pair ${number(place + 1)}`,
    chosen: "the closest",
    note: scored
      ? "Each new picture with its closest indexed ones above threshold."
      : "Each picture with its closest others above threshold, each pair once.",
    none: "There are none: no two pictures are more alike than threshold.",
  });
  add("outliers", "Outliers", {
    items: pairs(lists.outliers.items, ["outlier", "its closest neighbour"]),
    orders: pairOrders("farthest first", "least far first"),
    named: (card, place) => `Outlier ${number(place + 1)}`,
    chosen: "the farthest",
    note: "Pictures whose closest neighbour is below lower_threshold, each beside that neighbour.",
    none: "There are none: each picture has a neighbour that is not below lower_threshold.",
  });
  add(
    "conflicts",
    "Labels",
    lists.conflicts && {
      items: pairs(lists.conflicts.items, [one, other]),
      orders: pairOrders("closest first", far),
      ranged: (card) => card.value,
      named: (card, place) => `Pair ${number(place + 1)}`,
      chosen: "the closest",
      note: "Pairs above threshold whose labels differ.",
      none: "No two pictures above threshold have different labels.",
    },
  );
  add("bad", "Bad files", {
    items: lists.bad.items,
    orders: { name: ["name", byName((row) => row[0])], code: ["reason", byName((row) => row[1] + row[0])] },
    words: (row) => row,
    asTable: true,
    size: 100,
    chosen: "the first",
    note: lists.bad.codes.map(([code, count]) => `${number(count)} ${code}`).join(", "),
    none: "There are none.",
  });
  add(
    "changes",
    "What changed",
    lists.changes && {
      items: changedItems(lists.changes.items),
      orders: { file: ["kind of change", asIs] },
      words: (item) => item.names,
      element: changeElement,
      chosen: "of each kind the first",
      note: changeNote(lists.changes.counts),
      none: "Nothing changed since the last run.",
    },
  );
  add(
    "extremes",
    "Dark, bright, blurred",
    lists.extremes && {
      items: lists.extremes,
      total: lists.extremes.length,
      orders: { file: ["kind", asIs] },
      words: (item) => item.items.map(([member]) => picture(member).name),
      element: extremeElement,
      note: "The pictures at the ends of two statistics of images.parquet: brightness from 0 to 255, and blur, the lower the more blurred.",
    },
  );
  return found;
}

/** The cards that decisions are made on. */
export function decidableCards(lists) {
  return lists.filter((list) => ["groups", "exact"].includes(list.id)).flatMap((list) => list.items);
}

function changeNote(counts) {
  const told = Object.entries(counts ?? {}).map(([name, count]) => `${number(count)} ${name.replaceAll("_", " ")}`);
  return told.length ? `Since the last finished run: ${told.join(", ")}.` : "";
}

/** Rows of changes.csv; those of one group as one item. */
function changedItems(rows) {
  const items = [];
  for (const [change, component, from, to, distance, first, second] of rows) {
    const last = items.at(-1);
    const pictures = [[from, first], ...(to ? [[to, second]] : [])];
    if (change.startsWith("group") && last?.change === change && last.component === component) {
      last.pictures.push(...pictures);
    } else items.push({ change, component, distance, pictures });
  }
  for (const item of items) item.names = item.pictures.map(([name]) => name);
  return items;
}

function changeElement(item) {
  const count = item.pictures.length > 2 ? `, ${counted(item.pictures.length, "picture")}` : "";
  const measured = item.distance ? `, ${data.measure} ${value(Number(item.distance))}` : "";
  const shown = item.pictures.map(([name, member]) =>
    member >= 0
      ? figure(member, ROW_HEIGHT, { class: "picture" }, image(member), caption(member))
      : make("p", {}, foreign(visible(name))),
  );
  return plainCard(`${CHANGES[item.change] ?? item.change}${count}${measured}`, shown);
}

function extremeElement(item) {
  const shown = item.items.map(([member, measured]) => {
    const told = make("span", { class: "facts role" }, `${item.column} ${measured.toFixed(1)}`);
    return figure(member, ROW_HEIGHT, { class: "picture" }, image(member), caption(member, told));
  });
  return plainCard(item.title, shown);
}

function plainCard(title, shown) {
  const strip = make("div", { class: "strip" }, ...shown);
  return make(
    "article",
    { class: "card", tabindex: "0", "aria-label": title },
    make("header", {}, make("h3", {}, title)),
    strip,
  );
}

export function badTable(rows) {
  const head = make("tr", {}, ...["File", "Code", "Reason"].map((text) => make("th", { scope: "col" }, text)));
  const body = rows.map(([name, code, message]) => {
    const cut = name.lastIndexOf("/") + 1;
    const file = [
      foreign(visible(name.slice(cut)), { class: "name" }),
      foreign(visible(name.slice(0, cut)), { class: "folder" }),
    ];
    return make(
      "tr",
      {},
      make("td", {}, ...file),
      make("td", {}, make("code", {}, code)),
      make("td", {}, visible(message)),
    );
  });
  return make("table", { class: "bad" }, make("thead", {}, head), make("tbody", {}, ...body));
}
