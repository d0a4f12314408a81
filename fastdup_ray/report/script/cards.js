// A card: pictures that hang together, and what is decided on them.
import { data, picture } from "./data.js";
import { button, foreign, make, tell } from "./elements.js";
import { caption, figure, image } from "./pictures.js";
import { EXACT, bytes, counted, number, value, visible } from "./words.js";

export const ROW_HEIGHT = 152; // pixels of a thumbnail in a row
const LARGE = 240; // where there are two
const FIRST = 6; // pictures of a card at first
const WEAK = 0.9; // below it, a group's least alike pictures may be strangers

/** A pair as a card. row: [first, second, value, kind of exact copy, …]. */
export function pairCard(row, titles) {
  const [first, second, measured, kind, ...labels] = row;
  const similarity = [1, measured];
  return { isPair: true, members: [first, second], value: measured, similarity, kind: ["", kind], titles, labels };
}

export function reclaimed(card) {
  return card.reclaim ?? Math.min(...card.members.map((member) => picture(member).size ?? 0));
}

/** The element of a card; its function `update` shows what is decided by now. */
export function cardElement(card, { title, decisions, open, decidable }) {
  const height = card.members.length === 2 ? LARGE : ROW_HEIGHT;
  const state = make("span", { class: "state" });
  const strip = make("div", { class: "strip" });
  const heading = make("h3", {}, title, ...facts(card), state);
  const figures = [];
  const show = (members) => {
    for (const member of members) {
      const made = memberFigure(card, member, height, { decisions, open, decidable });
      figures.push(made);
      strip.append(made);
    }
  };
  const first = card.members.length > FIRST + 1 ? card.members.slice(0, FIRST) : card.members;
  show(first);
  const element = make("article", { class: "card", tabindex: "0", "aria-label": `${title}, ${plainFacts(card)}` });
  element.append(make("header", {}, heading, actions(card, decisions, open, decidable)), strip);
  if (first.length < card.members.length) {
    const rest = card.members.length - first.length;
    const more = button(`Show ${counted(rest, "more picture")}`, () => {
      more.remove();
      show(card.members.slice(FIRST));
      element.update();
      figures[FIRST].querySelector("button").focus();
    });
    element.append(more);
  }
  if (card.count > card.members.length) {
    const left = counted(card.count - card.members.length, "picture");
    element.append(
      make("p", { class: "note" }, `${left} of this group not on this page: see ${data.lists.groups.file}.`),
    );
  }
  element.card = card;
  element.update = () => {
    state.textContent = stateOf(card, decisions);
    element.classList.toggle("decided", decisions.isDecided(card));
    figures.forEach((made) => made.update());
  };
  element.update();
  return element;
}

function stateOf(card, decisions) {
  if (!decisions.isDecided(card)) return "";
  if (decisions.areDistinct(card)) return "not duplicates";
  const dropped = card.members.filter((member) => decisions.of(member) === "drop").length;
  return dropped ? `${number(dropped)} to drop` : "nothing to drop";
}

function plainFacts(card) {
  if (card.isPair) return `${data.measure} ${value(card.value)}`;
  return `${counted(card.count, "picture")}, lowest similarity ${value(card.lowest)}`;
}

function facts(card) {
  if (card.isPair) {
    const exact = EXACT[card.kind[1]];
    return [fact(`${data.measure} ${value(card.value)}`), exact && make("span", { class: "badge" }, exact)];
  }
  const weak = card.lowest < WEAK;
  return [
    fact(counted(card.count, "picture")),
    card.exact > 0 && fact(counted(card.exact, "exact copy", "exact copies")),
    make("span", { class: weak ? "fact weak" : "fact" }, `lowest similarity ${value(card.lowest)}`),
    card.reclaim > 0 && fact(`${bytes(card.reclaim)} to reclaim`),
  ];
}

function fact(text) {
  return make("span", { class: "fact" }, text);
}

function actions(card, decisions, open, decidable) {
  return make(
    "div",
    { class: "actions" },
    decidable && !card.isPair && button("Keep first, drop rest", () => decisions.accept([card]), {}, "a"),
    decidable && button("Not duplicates", () => decisions.areNotDuplicates(card), {}, "x"),
    button("Compare", () => open(card, 1), { class: "strong" }, "Enter"),
  );
}

function memberFigure(card, member, height, { decisions, open, decidable }) {
  const place = card.members.indexOf(member);
  const shown = picture(member);
  const name = visible(shown.base);
  const look = button("", () => open(card, place), { class: "look", "aria-label": `Compare ${name}` });
  look.append(image(member, { alt: false }));
  const choices = ["keep", "drop"].map((action) =>
    button(action === "keep" ? "Keep" : "Drop", () => choose(decisions, card, member, action), {
      class: action,
      "aria-label": `${action === "keep" ? "Keep" : "Drop"} ${name}`,
      disabled: action === "drop" && Boolean(shown.fixed),
      title: action === "drop" ? shown.fixed : null,
    }),
  );
  const told = [...roleOf(card, place), decidable && make("div", { class: "choices" }, ...choices)];
  const made = figure(member, height, { class: "picture" }, look, caption(member, ...told));
  made.dataset.member = member;
  made.update = () => {
    const action = decisions.of(member);
    made.dataset.action = action;
    choices.forEach((choice) =>
      choice.setAttribute("aria-pressed", String(choice.classList.contains(action || "none"))),
    );
  };
  return made;
}

/** What a picture is in its card: the keeper and why, or how like the keeper it is. */
function roleOf(card, place) {
  if (card.isPair) {
    const title = card.titles?.[place];
    const label = card.labels?.[place];
    return [
      title && make("span", { class: "facts role" }, title),
      label && make("span", { class: "badge" }, foreign(visible(label))),
    ];
  }
  if (place === 0) return [make("span", { class: "role keeper" }, make("b", {}, "Keeper"), ` ${visible(card.reason)}`)];
  const exact = EXACT[card.kind[place]];
  const stranger = card.strangers.includes(place) && card.members.length > 2 && card.lowest < WEAK;
  return [
    make("span", { class: "facts role" }, exact ? exact : `${value(card.similarity[place])} like the keeper`),
    stranger && make("span", { class: "facts weak" }, "least alike in this group"),
  ];
}

export function choose(decisions, card, member, action) {
  const refused = decisions.choose(card, member, action);
  const done = decisions.of(member) ? `${action}: ` : "undecided: ";
  tell(refused || done + visible(picture(member).base));
}
