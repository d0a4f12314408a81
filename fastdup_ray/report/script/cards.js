// A card: images that belong together, and the decisions on them.
import { data, getImage } from "./data.js";
import { announce, createButton, createElement, isolateText } from "./dom.js";
import {
  EXACT_KINDS,
  escapeInvisible,
  formatBytes,
  formatCount,
  formatNumber,
  formatPercent,
  formatValue,
} from "./format.js";
import { createCaption, createFigure, createImage } from "./images.js";
import { countSuggestedDrops, explainSuggestion } from "./suggestions.js";
import { createRelationBadge, getRelation, hasVerdicts } from "./verdicts.js";

export const ROW_HEIGHT = 152; // pixels of a thumbnail in a row
const PAIR_HEIGHT = 240; // pixels of a thumbnail on a card with two
const IMAGES_AT_FIRST = 6;
/** The text of the button that accepts the suggestions for a group. */
export const ACCEPT = hasVerdicts ? "Accept suggestion" : "Keep first, drop rest";

const LOOSE_BELOW = 0.9; // a group with a lower similarity may have images that differ

/** A pair as a card. row: [first, second, value, kind of exact duplicate, label, label]. */
export function makePairCard(row, titles) {
  const [first, second, value, kind, ...labels] = row;
  return { isPair: true, members: [first, second], value, similarity: [1, value], kind: ["", kind], titles, labels };
}

/** The relations of the images of a card: of a pair to each other, of a group to its first image. */
export function getRelations(card) {
  const [first, ...others] = card.members;
  card.relations ??= new Set(others.map((member) => getRelation(member, first)));
  return card.relations;
}

/** Bytes that can be reclaimed on a card. */
export function getReclaim(card) {
  return card.reclaim ?? Math.min(...card.members.map((member) => getImage(member).size ?? 0));
}

/** Create the element of a card. Its function `update` shows the current decisions. */
export function createCard(card, { title, decisions, open, decidable }) {
  const height = card.members.length === 2 ? PAIR_HEIGHT : ROW_HEIGHT;
  const state = createElement("span", { class: "state" });
  const strip = createElement("div", { class: "strip" });
  const heading = createElement("h3", {}, title, ...createFacts(card), state);
  const figures = [];
  const show = (members) => {
    for (const member of members) {
      const figure = createMemberFigure(card, member, height, { decisions, open, decidable });
      figures.push(figure);
      strip.append(figure);
    }
  };
  const first = card.members.length > IMAGES_AT_FIRST + 1 ? card.members.slice(0, IMAGES_AT_FIRST) : card.members;
  show(first);
  const label = `${title}, ${describeCard(card)}`;
  const element = createElement("article", { class: "card", tabindex: "0", "aria-label": label });
  element.append(createElement("header", {}, heading, createActions(card, decisions, open, decidable)), strip);
  if (first.length < card.members.length) {
    const rest = card.members.length - first.length;
    const more = createButton(`Show ${formatCount(rest, "more image")}`, () => {
      more.remove();
      show(card.members.slice(IMAGES_AT_FIRST));
      element.update();
      figures[IMAGES_AT_FIRST].querySelector("button").focus();
    });
    element.append(more);
  }
  if (card.count > card.members.length) {
    const left = formatCount(card.count - card.members.length, "more image");
    element.append(
      createElement("p", { class: "note" }, `This group has ${left}, listed in ${data.lists.groups.file}.`),
    );
  }
  element.card = card;
  element.update = () => {
    state.textContent = describeState(card, decisions);
    element.classList.toggle("decided", decisions.isDecided(card));
    figures.forEach((figure) => figure.update());
  };
  element.update();
  return element;
}

function describeState(card, decisions) {
  if (!decisions.isDecided(card)) return "";
  if (decisions.areDistinct(card)) return "not duplicates";
  const dropped = card.members.filter((member) => decisions.getAction(member) === "drop").length;
  return dropped ? `${formatNumber(dropped)} to drop` : "nothing to drop";
}

function describeCard(card) {
  if (card.isPair) return `${data.measure} ${formatValue(card.value)}`;
  return `${formatCount(card.count, "image")}, lowest similarity ${formatValue(card.lowest)}`;
}

function createFacts(card) {
  const createFact = (text, name = "fact") => createElement("span", { class: name }, text);
  if (card.isPair) {
    const exact = EXACT_KINDS[card.kind[1]];
    return [
      createFact(`${data.measure} ${formatValue(card.value)}`),
      exact && createFact(exact, "badge"),
      createRelationBadge(...card.members),
    ];
  }
  return [
    createFact(formatCount(card.count, "image")),
    card.exact > 0 && createFact(formatCount(card.exact, "exact duplicate")),
    createFact(`lowest similarity ${formatValue(card.lowest)}`, card.lowest < LOOSE_BELOW ? "fact weak" : "fact"),
    card.reclaim > 0 && createFact(`${formatBytes(card.reclaim)} reclaimable`),
    hasVerdicts && createFact(`${formatNumber(countSuggestedDrops(card))} suggested to drop`),
  ];
}

function createActions(card, decisions, open, decidable) {
  return createElement(
    "div",
    { class: "actions" },
    decidable && !card.isPair && createButton(ACCEPT, () => decisions.accept([card]), {}, "a"),
    decidable && createButton("Not duplicates", () => decisions.markNotDuplicates(card), {}, "x"),
    createButton("Compare", () => open(card, 1), { class: "strong" }, "Enter"),
  );
}

function createMemberFigure(card, member, height, { decisions, open, decidable }) {
  const position = card.members.indexOf(member);
  const { base, fixed } = getImage(member);
  const name = escapeInvisible(base);
  const preview = createButton("", () => open(card, position), { class: "preview", "aria-label": `Compare ${name}` });
  preview.append(createImage(member, { alt: false }));
  const choices = ["keep", "drop"].map((action) => {
    const text = action === "keep" ? "Keep" : "Drop";
    return createButton(text, () => decideImage(decisions, card, member, action), {
      class: action,
      "aria-label": `${text} ${name}`,
      disabled: action === "drop" && Boolean(fixed),
      title: action === "drop" ? fixed : null,
    });
  });
  const more = [...createRole(card, position), decidable && createElement("div", { class: "choices" }, ...choices)];
  const figure = createFigure(member, height, { class: "image" }, preview, createCaption(member, ...more));
  figure.dataset.member = member;
  figure.update = () => {
    const action = decisions.getAction(member);
    figure.dataset.action = action;
    choices.forEach((choice) =>
      choice.setAttribute("aria-pressed", String(choice.classList.contains(action || "none"))),
    );
  };
  return figure;
}

/** The role of an image on its card: the keeper and why, or how similar it is to the keeper. */
function createRole(card, position) {
  const createText = (name, ...content) => createElement("span", { class: name }, ...content);
  if (card.isPair) {
    const title = card.titles?.[position];
    const label = card.labels?.[position];
    return [
      title && createText("facts role", title),
      label && createText("badge", isolateText(escapeInvisible(label))),
    ];
  }
  const suggestion = hasVerdicts && explainSuggestion(card, position);
  if (position === 0) {
    const title = createElement("b", {}, suggestion ? "First of this group" : "Keeper");
    return [
      createText(suggestion ? "role" : "role keeper", title, ` · ${escapeInvisible(card.reason)}`),
      suggestion && createText("facts suggestion", suggestion),
    ];
  }
  const exact = EXACT_KINDS[card.kind[position]];
  const differs = card.least_similar.includes(position) && card.members.length > 2 && card.lowest < LOOSE_BELOW;
  return [
    createText("facts role", exact ? exact : `${formatPercent(card.similarity[position])} similar to keeper`),
    createRelationBadge(card.members[position], card.members[0]),
    suggestion && createText("facts suggestion", suggestion),
    differs && createText("facts weak", "least similar in this group"),
  ];
}

const DECIDED = { keep: "Keep", drop: "Drop", "": "No decision on" };

/** Keep or drop an image of a card, and announce the result. */
export function decideImage(decisions, card, member, action) {
  const refusal = decisions.decide(card, member, action);
  announce(refusal || `${DECIDED[decisions.getAction(member)]} ${escapeInvisible(getImage(member).base)}.`);
}
