// The page: tabs, search, order, slider, pages of cards, and shortcuts.
import { createCard, decideImage } from "./cards.js";
import { createConfirmedSwitch, includeConfirmed } from "./confirmed.js";
import { createDecisionBar, undoLast } from "./decision_bar.js";
import { Decisions } from "./decisions.js";
import { announce, createButton, createElement, isTyping } from "./dom.js";
import { formatBytes, formatCount, formatNumber, formatValue } from "./format.js";
import { createRelationFilter } from "./relation_filter.js";
import { createBadTable, getDecidableCards, makeTabs } from "./tabs.js";
import { createSlider } from "./slider.js";
import { hasVerdicts } from "./verdicts.js";
import { Viewer } from "./viewer.js";

const PAGE_SIZE = 25; // cards

const lists = makeTabs();
const decisions = new Decisions(getDecidableCards(lists));
const state = {
  list: null,
  order: "",
  page: 0,
  query: "",
  undecided: false,
  relation: "",
  low: -Infinity,
  high: Infinity,
};
let shown = []; // [item, its position in the list], filtered and sorted

const main = document.getElementById("main");
const panel = createElement("div", { id: "list", role: "tabpanel", tabindex: "-1", class: "list" });
const matchCount = createElement("p", { class: "match-count", role: "status" });
const note = createElement("p", { class: "note" });
const pager = createElement("nav", { class: "pager bar", "aria-label": "Pages" });
const search = createElement("input", {
  type: "search",
  id: "search",
  placeholder: "Name or folder",
  "aria-label": "Search by name",
  "aria-keyshortcuts": "/",
});
const order = createElement("select", { id: "order", "aria-label": "Order" });
const undecided = createElement("input", { type: "checkbox", id: "undecided" });
const relation = createRelationFilter((chosen) => filter({ relation: chosen }));
const confirmed = createConfirmedSwitch(lists, (included) => {
  includeConfirmed(lists, included);
  for (const list of lists) showTotal(list);
  fillHighlights(document.getElementById("highlights"));
  relation.update(state.list);
  filter({});
});
const acceptAll = createButton("Accept suggestions for all shown", acceptShown, { id: "accept-all" });
const tabs = lists.map((list) =>
  createElement(
    "button",
    { type: "button", role: "tab", id: `tab-${list.id}`, "aria-controls": "list", onclick: () => open(list) },
    list.title,
    list.id !== "extremes" && createElement("span", { class: "count" }, formatNumber(list.total)),
  ),
);
const shortcuts = createDecisionBar(decisions);
const viewer = new Viewer(decisions, (card, by) => {
  const at = shown.findIndex(([item]) => item === card) + by;
  return shown[at]?.[0] ?? null;
});

main.append(
  createElement("div", { role: "tablist", class: "tabs", "aria-label": "Lists", onkeydown: moveBetweenTabs }, ...tabs),
  createElement(
    "div",
    { class: "bar tools", role: "search" },
    search,
    createElement("label", {}, "Order ", order),
    createElement("label", { class: "undecided" }, undecided, " undecided only"),
    relation,
    acceptAll,
    matchCount,
  ),
  note,
  panel,
  pager,
);

/** Show a list in one of its orders, and focus its first card if asked to. */
function open(list, by = Object.keys(list.orders)[0], { focusFirst = false } = {}) {
  Object.assign(state, { list, order: by, page: 0 });
  for (const tab of tabs) {
    const selected = tab.id === `tab-${list.id}`;
    tab.setAttribute("aria-selected", String(selected));
    tab.tabIndex = selected ? 0 : -1;
    if (selected) tab.parentElement.scrollLeft = tab.offsetLeft - tab.offsetWidth; // where all do not fit
  }
  panel.setAttribute("aria-labelledby", `tab-${list.id}`);
  order.replaceChildren(
    ...Object.entries(list.orders).map(([name, [text]]) => createElement("option", { value: name }, text)),
  );
  order.value = by;
  order.parentElement.hidden = Object.keys(list.orders).length < 2;
  undecided.parentElement.hidden = !list.decidable;
  relation.update(list);
  history.replaceState(null, "", `#${list.id}`);
  render();
  if (focusFirst) {
    panel.firstElementChild?.focus();
    main.scrollIntoView();
  }
}

function matchesFilters(list, [item]) {
  if (state.query && !list.getTexts(item).some((text) => text.toLowerCase().includes(state.query))) return false;
  if (state.undecided && list.decidable && decisions.isDecided(item)) return false;
  if (state.relation && list.getRelations && !list.getRelations(item).has(state.relation)) return false;
  if (!list.getValue) return true;
  const value = list.getValue(item);
  if (value === null) return state.low === -Infinity && state.high === Infinity;
  return state.low <= value && value <= state.high;
}

function render() {
  const { list } = state;
  shown = list.items.map((item, position) => [item, position]).filter((entry) => matchesFilters(list, entry));
  if (state.order === "reverse") shown.reverse();
  const compare = list.orders[state.order][1];
  shown.sort((a, b) => compare(a[0], b[0]));
  const size = list.pageSize ?? PAGE_SIZE;
  const pages = Math.max(1, Math.ceil(shown.length / size));
  state.page = Math.min(state.page, pages - 1);
  const onPage = shown.slice(state.page * size, (state.page + 1) * size);
  panel.replaceChildren(
    ...(list.asTable && onPage.length ? [createBadTable(onPage.map(([row]) => row))] : onPage.map(createItem)),
  );
  if (!list.total) panel.append(createElement("p", { class: "empty" }, list.none));
  else if (!shown.length)
    panel.append(createElement("p", { class: "empty" }, "Nothing matches the search and the filters."));
  matchCount.textContent =
    shown.length < list.items.length ? `${formatNumber(shown.length)} of ${formatNumber(list.items.length)}` : "";
  note.textContent = [list.total && list.note, describeMissing(list)].filter(Boolean).join(" ");
  acceptAll.hidden = list.id !== "exact" || !shown.length;
  pager.hidden = pages < 2;
  pager.replaceChildren(
    createButton("Previous", () => turnPage(-1), { disabled: state.page === 0 }, "["),
    createElement("span", {}, `Page ${formatNumber(state.page + 1)} of ${formatNumber(pages)}`),
    createButton("Next", () => turnPage(1), { disabled: state.page === pages - 1 }, "]"),
  );
}

/** Change what is shown of the list, from its first page on. */
function filter(change) {
  Object.assign(state, change, { page: 0 });
  render();
}

function showTotal(list) {
  const count = document.querySelector(`#tab-${list.id} .count`);
  if (count) count.textContent = formatNumber(list.total);
}

/** Which items of a list are not on the page, and which file has them. */
function describeMissing(list) {
  if (list.createItem) return list.file ? `The full list is in ${list.file}.` : "";
  if (list.total <= list.items.length) return "";
  const counts = `${formatNumber(list.items.length)} of ${formatNumber(list.total)}`;
  return `Showing ${counts}: ${list.shown}. The full list is in ${list.file}.`;
}

function createItem([item, position]) {
  const { list } = state;
  if (list.createItem) return list.createItem(item);
  const { decidable } = list;
  const compare = (card, position) => viewer.open(card, position, getTitle, decidable);
  return createCard(item, { title: list.getTitle(item, position), decisions, open: compare, decidable });
}

function getTitle(card) {
  return state.list.getTitle(card, shown.find(([item]) => item === card)[1]);
}

function turnPage(by) {
  state.page += by;
  render();
  main.scrollIntoView();
  panel.firstElementChild?.focus({ preventScroll: true });
}

function acceptShown() {
  decisions.accept(shown.map(([card]) => card));
  const what = hasVerdicts ? "" : ": keep the first image of each set, drop the rest";
  announce(`Accepted ${formatCount(shown.length, "suggestion")}${what}.`);
}

/** Move between tabs with the arrow keys (WAI-ARIA pattern for tabs). */
function moveBetweenTabs(event) {
  const by = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
  if (!by) return;
  const at = lists.indexOf(state.list);
  const next = (at + by + lists.length) % lists.length;
  open(lists[next]);
  tabs[next].focus();
  event.preventDefault();
}

// Links to the groups that matter most

function fillHighlights(box) {
  const find = (id) => lists.find((list) => list.id === id);
  const best = (list, by) => list?.items.length && [...list.items].sort(list.orders[by][1])[0];
  const groups = find("groups");
  box.replaceChildren();
  const add = (title, fact, list, by) => {
    const link = createButton("", () => open(list, by, { focusFirst: true }));
    link.append(createElement("span", {}, title), createElement("b", {}, fact));
    box.append(createElement("li", {}, link));
  };
  if (best(groups, "size")) {
    add("Largest group", formatCount(best(groups, "size").count, "image"), groups, "size");
    add("Loosest group", `similarity ${formatValue(best(groups, "loosest").lowest)}`, groups, "loosest");
    add("Most reclaimable", formatBytes(best(groups, "bytes").reclaim), groups, "bytes");
  }
  const addList = (id, singular, by) => {
    const list = find(id);
    if (list?.total) add(list.title, formatCount(list.total, singular), list, by);
  };
  addList("exact", "set", "bytes");
  addList("leakage", "image", "file");
  addList("bad", "file", "name");
  addList("changes", "row", "file");
}

// Shortcuts

function moveFocus(by) {
  const cards = [...panel.querySelectorAll(".card")];
  const at = cards.indexOf(document.activeElement?.closest(".card"));
  const next = cards[at < 0 ? 0 : at + by];
  if (next) {
    next.focus();
    next.scrollIntoView({ block: "nearest" });
  } else if (at >= 0 && state.list.items.length) {
    const edge = by > 0 ? pager.lastElementChild : pager.firstElementChild;
    if (!pager.hidden && !edge.disabled) turnPage(by);
  }
}

function handleKey(event) {
  if (viewer.isOpen || shortcuts.open || isTyping(event)) return;
  const card = document.activeElement?.closest(".card")?.card;
  const keys = {
    n: () => moveFocus(1),
    p: () => moveFocus(-1),
    "/": () => search.focus(),
    "?": () => shortcuts.showModal(),
    "[": () => !pager.hidden && state.page > 0 && turnPage(-1),
    "]": () => !pager.hidden && !pager.lastElementChild.disabled && turnPage(1),
    z: () => undoLast(decisions),
  };
  if (card && document.activeElement.matches(".card")) {
    keys.Enter = () => viewer.open(card, 1, getTitle, state.list.decidable);
  }
  if (card && state.list.decidable) {
    const focused = document.activeElement.closest("[data-member]");
    if (!card.isPair) keys.a = () => decisions.accept([card]);
    keys.x = () => decisions.markNotDuplicates(card);
    keys.u = () => decisions.clear(card);
    for (const [name, action] of [
      ["k", "keep"],
      ["d", "drop"],
    ]) {
      if (focused) keys[name] = () => decideImage(decisions, card, Number(focused.dataset.member), action);
    }
    const member = card.members[Number(event.key) - 1];
    if (member !== undefined) keys[event.key] = () => decideImage(decisions, card, member, "drop");
  }
  if (!keys[event.key]) return;
  event.preventDefault();
  keys[event.key]();
}

document.addEventListener("keydown", handleKey);
search.addEventListener("input", () => filter({ query: search.value.trim().toLowerCase() }));
order.addEventListener("change", () => filter({ order: order.value }));
undecided.addEventListener("change", () => filter({ undecided: undecided.checked }));
decisions.addEventListener("change", () => panel.querySelectorAll(".card").forEach((card) => card.update?.()));

const range = document.getElementById("range");
if (range) createSlider(range, filter);
if (confirmed) (range?.parentElement ?? search.parentElement).append(confirmed);
fillHighlights(document.getElementById("highlights"));
open(lists.find((list) => `#${list.id}` === location.hash) ?? lists[0]);
document.documentElement.dataset.ready = Math.round(performance.now()); // milliseconds until the page can be used
