// The page: tabs, search, order, slider, pages of cards, and keys.
import { button, isTyping, make, tell } from "./elements.js";
import { Decisions } from "./decisions.js";
import { cardElement, choose } from "./cards.js";
import { Viewer } from "./viewer.js";
import { badTable, decidableCards, makeLists } from "./lists.js";
import { makeSlider } from "./slider.js";
import { makeTray, undoLast } from "./tray.js";
import { bytes, counted, number, value } from "./words.js";

const SIZE = 25; // cards on a page of a list

const lists = makeLists();
const decisions = new Decisions(decidableCards(lists));
const state = { list: null, order: "", query: "", page: 0, low: -Infinity, high: Infinity, undecided: false };
let shown = []; // [item, its place in the list], filtered and in order

const main = document.getElementById("main");
const panel = make("div", { id: "list", role: "tabpanel", tabindex: "-1", class: "list" });
const found = make("p", { class: "found", role: "status" });
const note = make("p", { class: "note" });
const pager = make("nav", { class: "pager bar", "aria-label": "Pages" });
const search = make("input", {
  type: "search",
  id: "search",
  placeholder: "Name or folder",
  "aria-label": "Search by name",
  "aria-keyshortcuts": "/",
});
const order = make("select", { id: "order", "aria-label": "Order" });
const undecided = make("input", { type: "checkbox", id: "undecided" });
const acceptAll = button("Keep first, drop rest: all shown", acceptShown, { id: "accept-all" });
const tabs = lists.map((list) =>
  make(
    "button",
    { type: "button", role: "tab", id: `tab-${list.id}`, "aria-controls": "list", onclick: () => open(list) },
    list.title,
    list.id !== "extremes" && make("span", { class: "count" }, number(list.total)),
  ),
);
const { help } = makeTray(decisions);
const viewer = new Viewer(decisions, (card, by) => {
  const at = shown.findIndex(([item]) => item === card) + by;
  return shown[at]?.[0] ?? null;
});

main.append(
  make("div", { role: "tablist", class: "tabs", "aria-label": "Lists", onkeydown: turnTabs }, ...tabs),
  make(
    "div",
    { class: "bar tools", role: "search" },
    search,
    make("label", {}, "Order ", order),
    make("label", { class: "undecided" }, undecided, " undecided only"),
    acceptAll,
    found,
  ),
  note,
  panel,
  pager,
);

/** Shows a list; order: one of its orders; first: whether the first card gets the focus. */
function open(list, by = Object.keys(list.orders)[0], first = false) {
  Object.assign(state, { list, order: by, page: 0 });
  for (const tab of tabs) {
    const selected = tab.id === `tab-${list.id}`;
    tab.setAttribute("aria-selected", String(selected));
    tab.tabIndex = selected ? 0 : -1;
    if (selected) tab.parentElement.scrollLeft = tab.offsetLeft - tab.offsetWidth; // where all do not fit
  }
  panel.setAttribute("aria-labelledby", `tab-${list.id}`);
  order.replaceChildren(
    ...Object.entries(list.orders).map(([name, [words]]) => make("option", { value: name }, words)),
  );
  order.value = by;
  order.parentElement.hidden = Object.keys(list.orders).length < 2;
  undecided.parentElement.hidden = !list.decidable;
  history.replaceState(null, "", `#${list.id}`);
  render();
  if (first) {
    panel.firstElementChild?.focus();
    main.scrollIntoView();
  }
}

function isWanted(list, [item]) {
  if (state.query && !list.words(item).some((text) => text.toLowerCase().includes(state.query))) return false;
  if (state.undecided && list.decidable && decisions.isDecided(item)) return false;
  if (!list.ranged) return true;
  const measured = list.ranged(item);
  if (measured === null) return state.low === -Infinity && state.high === Infinity;
  return state.low <= measured && measured <= state.high;
}

function render() {
  const { list } = state;
  shown = list.items.map((item, place) => [item, place]).filter((entry) => isWanted(list, entry));
  if (state.order === "reverse") shown.reverse();
  const compare = list.orders[state.order][1];
  shown.sort((a, b) => compare(a[0], b[0]));
  const size = list.size ?? SIZE;
  const pages = Math.max(1, Math.ceil(shown.length / size));
  state.page = Math.min(state.page, pages - 1);
  const part = shown.slice(state.page * size, (state.page + 1) * size);
  panel.replaceChildren(...(list.asTable && part.length ? [badTable(part.map(([row]) => row))] : part.map(elementOf)));
  if (!list.total) panel.append(make("p", { class: "empty" }, list.none));
  else if (!shown.length)
    panel.append(make("p", { class: "empty" }, "Nothing here matches the search and the slider."));
  found.textContent = shown.length < list.items.length ? `${number(shown.length)} of ${number(list.items.length)}` : "";
  const missing = list.total > list.items.length && !list.element;
  const rest = missing
    ? ` This page has ${number(list.items.length)} of ${number(list.total)}: ${list.chosen}. All are in ${list.file}.`
    : "";
  note.textContent = (list.total ? list.note : "") + rest;
  if (list.element && list.file) note.textContent += ` All of it is in ${list.file}.`;
  acceptAll.hidden = list.id !== "exact" || !shown.length;
  pager.hidden = pages < 2;
  pager.replaceChildren(
    button("Previous", () => turn(-1), { disabled: state.page === 0 }, "["),
    make("span", {}, `Page ${number(state.page + 1)} of ${number(pages)}`),
    button("Next", () => turn(1), { disabled: state.page === pages - 1 }, "]"),
  );
}

function elementOf([item, place]) {
  const { list } = state;
  if (list.element) return list.element(item);
  const { decidable } = list;
  const look = (card, at) => viewer.open(card, at, titleOf, decidable);
  return cardElement(item, { title: list.named(item, place), decisions, open: look, decidable });
}

function titleOf(card) {
  return state.list.named(card, shown.find(([item]) => item === card)[1]);
}

function turn(by) {
  state.page += by;
  render();
  main.scrollIntoView();
  panel.firstElementChild?.focus({ preventScroll: true });
}

function acceptShown() {
  decisions.accept(shown.map(([card]) => card));
  tell(`${counted(shown.length, "set of copies", "sets of copies")}: the first is kept, the rest is to be dropped.`);
}

/** Arrow keys inside the list of tabs, as screen readers expect. */
function turnTabs(event) {
  const by = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
  if (!by) return;
  const at = lists.indexOf(state.list);
  const next = (at + by + lists.length) % lists.length;
  open(lists[next]);
  tabs[next].focus();
  event.preventDefault();
}

// Where to look first

function makeShortcuts(box) {
  const of = (id) => lists.find((list) => list.id === id);
  const best = (list, by) => list?.items.length && [...list.items].sort(list.orders[by][1])[0];
  const groups = of("groups");
  const add = (words, more, list, by) => {
    const made = button("", () => open(list, by, true));
    made.append(make("span", {}, words), make("b", {}, more));
    box.append(make("li", {}, made));
  };
  if (best(groups, "size")) {
    add("Largest group", counted(best(groups, "size").count, "picture"), groups, "size");
    add("Worst chain", `similarity ${value(best(groups, "chain").lowest)}`, groups, "chain");
    add("Most bytes to reclaim", bytes(best(groups, "bytes").reclaim), groups, "bytes");
  }
  if (of("exact")?.total) add("Exact copies", counted(of("exact").total, "set"), of("exact"), "bytes");
  if (of("leakage")?.total) add("Leakage", counted(of("leakage").total, "picture"), of("leakage"), "file");
  if (of("bad").total) add("Bad files", counted(of("bad").total, "file"), of("bad"), "name");
  if (of("changes")?.total) add("What changed", counted(of("changes").total, "row"), of("changes"), "file");
}

// Keys

function step(by) {
  const cards = [...panel.querySelectorAll(".card")];
  const at = cards.indexOf(document.activeElement?.closest(".card"));
  const next = cards[at < 0 ? 0 : at + by];
  if (next) {
    next.focus();
    next.scrollIntoView({ block: "nearest" });
  } else if (at >= 0 && state.list.items.length) {
    const edge = by > 0 ? pager.lastElementChild : pager.firstElementChild;
    if (!pager.hidden && !edge.disabled) turn(by);
  }
}

function key(event) {
  if (viewer.isOpen || help.open || isTyping(event)) return;
  const card = document.activeElement?.closest(".card")?.card;
  const keys = {
    n: () => step(1),
    p: () => step(-1),
    "/": () => search.focus(),
    "?": () => help.showModal(),
    "[": () => !pager.hidden && state.page > 0 && turn(-1),
    "]": () => !pager.hidden && !pager.lastElementChild.disabled && turn(1),
    z: () => undoLast(decisions),
  };
  if (card && document.activeElement.matches(".card")) {
    keys.Enter = () => viewer.open(card, 1, titleOf, state.list.decidable);
  }
  if (card && state.list.decidable) {
    const focused = document.activeElement.closest("[data-member]");
    if (!card.isPair) keys.a = () => decisions.accept([card]);
    keys.x = () => decisions.areNotDuplicates(card);
    keys.u = () => decisions.forget(card);
    for (const [name, action] of [
      ["k", "keep"],
      ["d", "drop"],
    ]) {
      if (focused) keys[name] = () => choose(decisions, card, Number(focused.dataset.member), action);
    }
    const member = card.members[Number(event.key) - 1];
    if (member !== undefined) keys[event.key] = () => choose(decisions, card, member, "drop");
  }
  if (!keys[event.key]) return;
  event.preventDefault();
  keys[event.key]();
}

document.addEventListener("keydown", key);
search.addEventListener("input", () => {
  Object.assign(state, { query: search.value.trim().toLowerCase(), page: 0 });
  render();
});
order.addEventListener("change", () => {
  Object.assign(state, { order: order.value, page: 0 });
  render();
});
undecided.addEventListener("change", () => {
  Object.assign(state, { undecided: undecided.checked, page: 0 });
  render();
});
decisions.addEventListener("change", () => panel.querySelectorAll(".card").forEach((card) => card.update?.()));

const range = document.getElementById("range");
if (range) {
  makeSlider(range, (between) => {
    Object.assign(state, between, { page: 0 });
    render();
  });
}
makeShortcuts(document.getElementById("shortcuts"));
open(lists.find((list) => `#${list.id}` === location.hash) ?? lists[0]);
document.documentElement.dataset.ready = Math.round(performance.now()); // milliseconds until it can be used
