// The page: tabs, filters, pages of cards, and what is done to all that are shown.
import { createCard } from "./cards.js";
import { createConfirmedSwitch, includeConfirmed } from "./confirmed.js";
import { formatCsv } from "./csv.js";
import { data, getImage, server } from "./data.js";
import { createDecisionBar } from "./decision_bar.js";
import { Decisions } from "./decisions.js";
import { announce, createButton, createElement, download } from "./dom.js";
import { FilterBar } from "./filter_bar.js";
import { formatBytes, formatCount, formatNumber } from "./format.js";
import { createKeeperPicker } from "./keeper_picker.js";
import { listenToKeys } from "./keys.js";
import { createShortcutsDialog } from "./shortcuts.js";
import { countSuggestedDrops } from "./suggestions.js";
import { getDecidableCards, makeTabs } from "./tabs.js";
import { fillTiles } from "./tiles.js";
import { Viewer } from "./viewer.js";

const PAGE_SIZE = 24; // cards

const lists = makeTabs();
const decidableCards = getDecidableCards(lists);
const decisions = new Decisions(decidableCards);
const state = { list: null, order: "", page: 0 };
let shown = []; // [item, its position in the list], filtered and sorted

const main = document.getElementById("main");
const panel = createElement("div", { id: "list", role: "tabpanel", tabindex: "-1", class: "list" });
const matchCount = createElement("p", { class: "match-count", role: "status" });
const note = createElement("p", { class: "note" });
const pager = createElement("nav", { class: "pager bar", "aria-label": "Pages" });
const filters = new FilterBar(decisions, () => {
  state.order = filters.order.value;
  state.page = 0;
  render();
});
const confirmed = createConfirmedSwitch(lists, (included) => {
  includeConfirmed(lists, included);
  for (const list of lists) showTotal(list);
  fillTiles(tiles, lists, openAndFocus);
  show();
});
const keeperPicker = createKeeperPicker(() => show());
const acceptAll = createButton("Accept suggestions for all shown", acceptShown, { id: "accept-all" });
const listAll = createButton("Download list", downloadShown, { id: "download-list" });
const tabs = lists.map((list) =>
  createElement(
    "button",
    { type: "button", role: "tab", id: `tab-${list.id}`, "aria-controls": "list", onclick: () => open(list) },
    list.title,
    createElement("span", { class: "count" }, formatNumber(list.total)),
  ),
);
const tiles = document.getElementById("tiles");
const shortcuts = createShortcutsDialog();
if (server) document.getElementById("map-link")?.setAttribute("href", "map");
const viewer = new Viewer(decisions, (card, by) => {
  const at = shown.findIndex(([item]) => item === card) + by;
  return shown[at]?.[0] ?? null;
});

main.append(
  createElement(
    "div",
    { class: "sticky" },
    createElement("div", { role: "tablist", class: "tabs", "aria-label": "Lists", onkeydown: moveBetweenTabs }, ...tabs),
    filters.element,
  ),
  createElement("div", { class: "bar actions-on-list" }, note, matchCount, confirmed, keeperPicker, acceptAll, listAll),
  panel,
  pager,
);

/** Show a list in one of its orders. */
function open(list, by = Object.keys(list.orders)[0]) {
  Object.assign(state, { list, order: by, page: 0 });
  for (const tab of tabs) {
    const selected = tab.id === `tab-${list.id}`;
    tab.setAttribute("aria-selected", String(selected));
    tab.tabIndex = selected ? 0 : -1;
    if (selected) tab.parentElement.scrollLeft = tab.offsetLeft - tab.offsetWidth; // where all do not fit
  }
  panel.setAttribute("aria-labelledby", `tab-${list.id}`);
  panel.classList.toggle("grid", Boolean(list.isGrid));
  history.replaceState(null, "", `#${list.id}`);
  show();
}

/** Show a list, and focus its first card. */
function openAndFocus(list, by) {
  open(list, by);
  main.scrollIntoView();
  panel.firstElementChild?.focus({ preventScroll: true });
}

/** Show the list with filters that fit it. */
function show() {
  filters.show(state.list, state.order);
  render();
}

function render() {
  const { list } = state;
  filters.update();
  shown = list.items.map((item, position) => [item, position]).filter(([item]) => filters.matches(list, item));
  if (state.order === "reverse") shown.reverse();
  const compare = list.orders[state.order][1];
  shown.sort((a, b) => compare(a[0], b[0]));
  const size = list.pageSize ?? PAGE_SIZE;
  const pages = Math.max(1, Math.ceil(shown.length / size));
  state.page = Math.min(state.page, pages - 1);
  const onPage = shown.slice(state.page * size, (state.page + 1) * size);
  panel.replaceChildren(
    ...(list.createTable && onPage.length ? [list.createTable(onPage.map(([row]) => row))] : onPage.map(createItem)),
  );
  if (!onPage.length) panel.append(createEmptyState(list));
  matchCount.textContent =
    shown.length < list.items.length ? `${formatNumber(shown.length)} of ${formatNumber(list.items.length)} shown` : "";
  note.textContent = [list.note, list.describe?.(filters.kind.value), describeMissing(list)].filter(Boolean).join(" ");
  acceptAll.hidden = !canAcceptAll(list) || !shown.length;
  acceptAll.disabled = !acceptAll.hidden && !shown.some(([card]) => countSuggestedDrops(card));
  keeperPicker.hidden = !canAcceptAll(list);
  if (confirmed) confirmed.hidden = !list.confirmed;
  listAll.hidden = !list.kinds || !shown.length;
  pager.hidden = pages < 2;
  pager.replaceChildren(
    createButton("Previous", () => turnPage(-1), { disabled: state.page === 0 }, "["),
    createElement("span", {}, `Page ${formatNumber(state.page + 1)} of ${formatNumber(pages)}`),
    createButton("Next", () => turnPage(1), { disabled: state.page === pages - 1 }, "]"),
  );
}

function createEmptyState(list) {
  if (!filters.isActive) return createElement("p", { class: "empty" }, list.none);
  const clear = createButton("Clear filters", () => filters.reset());
  return createElement("p", { class: "empty" }, `No ${list.title.toLowerCase()} match. `, clear);
}

function showTotal(list) {
  document.querySelector(`#tab-${list.id} .count`).textContent = formatNumber(list.total);
}

/** Which items of a list are not on the page, and which file has them. */
function describeMissing(list) {
  if (list.total <= list.items.length) return "";
  const counts = `${formatNumber(list.items.length)} of ${formatNumber(list.total)}`;
  return `Showing ${counts}${list.shown ? `: ${list.shown}` : ""}.${list.file ? ` The full list is in ${list.file}.` : ""}`;
}

function createItem([item, position]) {
  const { list } = state;
  const compare = (card, at) => viewer.open(card, at, getTitle, list.decidable);
  if (list.createItem) return list.createItem(item, compare);
  const { decidable } = list;
  return createCard(item, { title: list.getTitle(item, position), decisions, open: compare, decidable });
}

function getTitle(card) {
  return state.list.getTitle(card, shown.find(([item]) => item === card)[1]);
}

function turnPage(by) {
  const page = state.page + by;
  if (pager.hidden || page < 0 || pager.children[by > 0 ? 2 : 0].disabled) return;
  state.page = page;
  render();
  main.scrollIntoView();
  panel.firstElementChild?.focus({ preventScroll: true });
}

/** Whether the list has groups, for which there are suggestions. */
function canAcceptAll(list) {
  return list.id === "groups" || list.id === "exact";
}

/** Accept the suggestions for all groups that the filters let through, but for images with a decision. */
function acceptShown() {
  const cards = shown.map(([card]) => card);
  const undecided = cards.filter((card) => !decisions.isDecided(card));
  const accepted = undecided.filter((card) => countSuggestedDrops(card));
  const [decided, without] = [cards.length - undecided.length, undecided.length - accepted.length];
  const before = decisions.totals;
  if (accepted.length) decisions.accept(accepted, { overrule: false });
  const { dropped, bytes } = decisions.totals;
  announce(
    [
      accepted.length
        ? `Accepted the suggestions for ${formatCount(accepted.length, "group")}: ` +
          `${formatCount(dropped - before.dropped, "image")} to drop (${formatBytes(bytes - before.bytes)}).`
        : "There is no suggestion to accept.",
      decided && `${formatCount(decided, "group")} decided before: not changed.`,
      without && `${formatCount(without, "group")} without a suggestion: still undecided.`,
      describeHiddenDrops(),
      accepted.length && "Press z to undo.",
    ]
      .filter(Boolean)
      .join(" "),
  );
}

/** What is safe to drop besides, in groups that only confirmed pairs below the threshold make; "" if nothing is. */
function describeHiddenDrops() {
  const hidden = (data.safe_to_drop ?? 0) - decisions.totals.dropped;
  const isIncluded = !state.list.confirmed || confirmed.querySelector("input").checked;
  if (hidden <= 0 || isIncluded || filters.isActive) return "";
  return `Not shown: up to ${formatCount(hidden, "image")} safe to drop; tick "Include verified pairs of lower similarity".`;
}

/** Download the paths of the images that are shown, with what is odd about each. */
function downloadShown() {
  const rows = shown.map(([{ member, title, fact }]) => {
    const { name, hex } = getImage(member);
    return [{ text: hex ? "" : name, hex }, ...[title, fact].map((text) => ({ text, hex: "" }))];
  });
  const header = ["filename", "issue", "value"].map((text) => ({ text, hex: "" }));
  download("image_issues.csv", "text/csv", formatCsv([header, ...rows]));
  announce(`Saved image_issues.csv with ${formatCount(rows.length, "row")}.`);
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

listenToKeys(panel, decisions, {
  actions: {
    "/": () => filters.search.focus(),
    "?": () => shortcuts.showModal(),
    "[": () => turnPage(-1),
    "]": () => turnPage(1),
    z: () => announce(decisions.undo()),
  },
  open: (card, position) => viewer.open(card, position, getTitle, state.list.decidable),
  turnPage,
  isBlocked: () => viewer.isOpen || shortcuts.open || !lists.length,
  isDecidable: () => state.list.decidable,
});
decisions.addEventListener("change", () => panel.querySelectorAll(".card").forEach((card) => card.update?.()));

if (lists.some((list) => list.decidable)) createDecisionBar(decisions, () => shortcuts.showModal());
else document.getElementById("decision-bar").append(createElement("p", { id: "message", role: "status" }));
fillTiles(tiles, lists, openAndFocus);
if (lists.length) open(lists.find((list) => `#${list.id}` === location.hash) ?? lists[0]);
else main.replaceChildren();
document.documentElement.dataset.ready = Math.round(performance.now()); // milliseconds until the page can be used
