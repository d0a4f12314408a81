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
import { explainKeeper, getSuggestion, isRuleOfRun, isSuggestedKeeper } from "./keeper_rules.js";
import { countSuggestedDrops, explainSuggestion, sumSuggestedBytes } from "./suggestions.js";
import { createRelationBadge, getRelation } from "./verdicts.js";

export const ROW_HEIGHT = 152; // pixels of a thumbnail in a row
const PAIR_HEIGHT = 210; // pixels of a thumbnail on a card with two
const IMAGES_AT_FIRST = 6;
const ALL_IN_SIGHT = 3; // images of a group that nobody has to count
/** The text of the button that accepts the suggestions for a group. */
export const ACCEPT = "Accept suggestion";

const NUMBER_HINT = "The number of a group is its component_id, and group in plan.csv";

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
  if (!card.isPair) return isRuleOfRun() ? card.reclaim : sumSuggestedBytes(card);
  return Math.min(...card.members.map((member) => getImage(member).size ?? 0));
}

/** Create the element of a card. Its function `update` shows the current decisions. */
export function createCard(card, { title, decisions, open, decidable }) {
  const height = card.members.length === 2 ? PAIR_HEIGHT : ROW_HEIGHT;
  const state = createElement("span", { class: "state" });
  const strip = createElement("div", { class: "strip" });
  const heading = createElement("h3", { title: card.isPair ? null : NUMBER_HINT }, title, ...createFacts(card), state);
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
  const size = { 2: "card two", 3: "card three" }[card.members.length] ?? "card";
  const element = createElement("article", { class: size, tabindex: "0", "aria-label": label });
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
  if (!decisions.hasDecision(card)) return "";
  if (decisions.areDistinct(card)) return "not duplicates";
  const dropped = card.members.filter((member) => decisions.getAction(member) === "drop").length;
  return dropped ? `${formatNumber(dropped)} to drop` : "nothing to drop";
}

function describeCard(card) {
  if (card.isPair) return `${data.measure} ${formatValue(card.value)}`;
  return `${formatCount(card.count, "image")}, lowest similarity ${formatValue(card.lowest)}`;
}

/** What a card says beside its title; what would be the same on most cards is left out. */
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
  const isExact = card.exact === card.count - 1;
  const isLoose = card.lowest < LOOSE_BELOW;
  const [reclaim, drops] = [getReclaim(card), countSuggestedDrops(card)];
  return [
    card.count > ALL_IN_SIGHT && createFact(formatCount(card.count, "image")),
    card.count > 2 && card.exact > 0 && createFact(formatCount(card.exact, "exact duplicate")),
    (card.count > 2 || isLoose) &&
      !isExact &&
      createFact(`lowest similarity ${formatValue(card.lowest)}`, isLoose ? "fact weak" : "fact"),
    createFact(`${formatNumber(drops)} suggested to drop${drops ? ` (${formatBytes(reclaim)})` : ""}`),
  ];
}

function createActions(card, decisions, open, decidable) {
  const accept = () => announce(acceptSuggestion(decisions, card));
  const markDistinct = () => announce(decisions.markNotDuplicates(card));
  const canAccept = countSuggestedDrops(card) > 0;
  return createElement(
    "div",
    { class: "actions" },
    decidable && !card.isPair && createButton(ACCEPT, accept, { class: "strong", disabled: !canAccept }, "a"),
    decidable && createButton("Not duplicates", markDistinct, {}, "x"),
    createButton("Compare", () => open(card, 1), { class: "compare" }, "Enter"),
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
    return createButton(text, () => toggleDecision(decisions, card, member, action), {
      class: action,
      "aria-label": `${text} ${name}`,
      disabled: action === "drop" && Boolean(fixed),
      title: action === "drop" ? fixed : null,
    });
  });
  const more = [...createRole(card, position), decidable && createElement("div", { class: "choices" }, ...choices)];
  const figure = createFigure(member, height, { class: "image" }, preview, createCaption(member, card.members, ...more));
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
  const badge = position > 0 && createRelationBadge(card.members[position], card.members[0]);
  const reason = escapeInvisible(explainKeeper(card, position));
  const isKeeper = isSuggestedKeeper(card, position);
  const suggestion = explainSuggestion(card, position);
  if (isKeeper || (position === 0 && !suggestion)) {
    const title = createElement("b", {}, isKeeper ? "Keeper" : "First of this group");
    return [createText(isKeeper ? "role keeper" : "role", title, reason && ` · ${reason}`), badge];
  }
  const exact = EXACT_KINDS[card.kind[position]];
  const differs = card.least_similar.includes(position) && card.members.length > 2 && card.lowest < LOOSE_BELOW;
  return [
    position > 0 &&
      createText("facts role", exact ? exact : `${formatPercent(card.similarity[position])} similar to the first`),
    badge,
    suggestion && createElement("span", { class: "facts suggestion", title: getReason(card, position) }, suggestion),
    differs && createText("facts weak", "least similar in this group"),
  ];
}

/** The whole reason of the plan to drop an image; null if it is kept. */
function getReason(card, position) {
  const suggestion = getSuggestion(card, position);
  return suggestion?.keeper >= 0 ? escapeInvisible(suggestion.reason) : null;
}

/** Keep or drop an image of a card, and say so. */
export function decideImage(decisions, card, member, action) {
  announce(decisions.decide(card, member, action));
}

/** Keep or drop an image, or clear that decision if it has been made. */
export function toggleDecision(decisions, card, member, action) {
  if (decisions.getAction(member) === action) announce(decisions.clear([member]));
  else decideImage(decisions, card, member, action);
}

/** Accept the suggestions for one card. Returns what was done. */
export function acceptSuggestion(decisions, card) {
  if (!countSuggestedDrops(card)) return "There is no suggestion to accept: decide yourself what to drop.";
  decisions.accept([card], { overrule: true });
  const dropped = card.members.filter((member) => decisions.getAction(member) === "drop").length;
  return `Accepted: ${formatCount(dropped, "image")} to drop.`;
}
