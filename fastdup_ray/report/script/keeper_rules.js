// Which images of a card are suggested to be dropped, and for which: by the default plan of the run, or by another rule
// that the user chooses.
import { data, getGroupNumber, getImage } from "./data.js";
import { EXACT_KINDS, escapeInvisible, formatBytes, formatPixels } from "./format.js";
import { findSimilarity } from "./similarity.js";
import { findVerdict, getRelation, hasVerdicts } from "./verdicts.js";

const SAME_MOMENT = 2000; // milliseconds: dates that differ by less are a tie

const countPixels = ({ width, height }) => (width ?? 0) * (height ?? 0);
const getTime = ({ time }) => time ?? Infinity;

// Orders: the image with the lowest value comes first; values that are larger by less than `tie` are equal to it.
const byReference = { value: (image) => -Number(image.reference), tie: 0 };
const byFolder = { value: (image) => -Number(isInFolder(image)), tie: 0 };
const byPixels = { value: (image) => -countPixels(image), tie: 0 };
const byBytes = { value: (image) => -(image.size ?? 0), tie: 0 };
const byAge = { value: getTime, tie: SAME_MOMENT };

/**
 * The rules. Each has: title and, but for the first one, which is the default plan of the run, orders (the most important
 * first), and explain (why an image is kept).
 */
export const KEEPER_RULES = {
  run: { title: "suggested image" },
  largest: { title: "largest image", orders: [byPixels, byBytes, byAge], explain: (image) => formatPixels(image) },
  bytes: { title: "largest file", orders: [byBytes, byPixels, byAge], explain: (image) => formatBytes(image.size) },
  oldest: { title: "oldest", orders: [byAge, byPixels, byBytes], explain: (image) => image.date || "date unknown" },
  folder: { title: "in this folder", orders: [byPixels, byBytes, byAge], explain: (image) => image.folder },
};
const [OF_RUN] = Object.keys(KEEPER_RULES);
const RULE_KEY = `fastdup-ray keeper rule of ${data.run}`;

let { chosen, folder } = loadRule();
let version = 0; // changes with the rule, so that what was computed by an earlier one is computed again

/** Keep images by another rule. name: of KEEPER_RULES. inFolder: a part of the paths to keep, for the rule `folder`. */
export function chooseKeeperRule(name, inFolder = "") {
  [chosen, folder] = [name, inFolder];
  version += 1;
  try {
    localStorage.setItem(RULE_KEY, JSON.stringify({ chosen, folder }));
  } catch {
    // The rule is not kept over a reload where the browser allows or has no storage.
  }
}

/** The rule that is chosen: {chosen, folder}. */
export function getKeeperRule() {
  return { chosen, folder };
}

function loadRule() {
  try {
    const rule = JSON.parse(localStorage.getItem(RULE_KEY));
    if (rule?.chosen in KEEPER_RULES) return { chosen: rule.chosen, folder: String(rule.folder ?? "") };
  } catch {
    // as above
  }
  return { chosen: OF_RUN, folder: "" };
}

/** Whether images are kept by the rule of the run. */
export function isRuleOfRun() {
  return chosen === OF_RUN || (chosen === "folder" && !folder);
}

/**
 * What is suggested for the image at a position: keeper (the number of the image that it is dropped for, or -1 if it is
 * kept), similarity, rule, reason and group, as a row of a plan has them; null if nothing is.
 */
export function getSuggestion(card, position) {
  if (isRuleOfRun()) return getImage(card.members[position]).suggestion;
  if (card.suggestedBy !== version) {
    card.suggestedBy = version;
    card.suggestions = suggestByRule(card);
  }
  return card.suggestions[position];
}

/** The number of the image for which the one at a position is suggested to be dropped; -1 if it is not. */
export function getSuggestedKeeper(card, position) {
  return getSuggestion(card, position)?.keeper ?? -1;
}

/** Whether other images of a card are suggested to be dropped for the one at a position. */
export function isSuggestedKeeper(card, position) {
  return card.members.some((_, other) => getSuggestedKeeper(card, other) === card.members[position]);
}

/** Why the image at a position is preferred to others of its card; "" if it is not. */
export function explainKeeper(card, position) {
  const suggestion = getSuggestion(card, position);
  if (isSuggestedKeeper(card, position)) return suggestion?.reason ?? "";
  return isRuleOfRun() && position === 0 && !(suggestion?.keeper >= 0) ? (card.reason ?? "") : "";
}

/** How a reason begins that an image is dropped for another one. */
export function describeDuplicate(card, number, keeper) {
  const [image, other] = [number, keeper].map(getImage);
  if (image.sha256 && image.sha256 === other.sha256) return `${EXACT_KINDS.bytes} as`;
  const kind = card.members[0] === keeper && card.kind?.[card.members.indexOf(number)];
  if (kind) return `${EXACT_KINDS[kind]} as`;
  return data.verified?.duplicate_of[getRelation(number, keeper)] ?? "near duplicate of";
}

/** As the command `plan` does: the first image in the order of the rule is kept, and its duplicates go; and so on. */
function suggestByRule(card) {
  const suggestions = new Map();
  const group = getGroupNumber(card.members);
  let rest = orderImages(card.members.map(getImage), listOrders(card)).filter(
    (image) => image.reference || !image.fixed,
  );
  while (rest.length) {
    const [keeper, ...others] = rest;
    const dropped = others.filter((other) => !other.fixed && isDuplicate(card, keeper, other));
    for (const { number } of dropped) {
      const reason = `${describeDuplicate(card, number, keeper.number)} its keeper, ${explainByRule(keeper)}`;
      const similarity = findSimilarity(card, number, keeper.number);
      suggestions.set(number, { keeper: keeper.number, similarity, rule: data.plan.by_hand, reason, group });
    }
    if (dropped.length) {
      const reason = explainByRule(keeper);
      suggestions.set(keeper.number, { keeper: -1, similarity: null, rule: data.plan.by_hand, reason, group });
    }
    rest = others.filter((other) => !dropped.includes(other));
  }
  return card.members.map((member) => suggestions.get(member) ?? null);
}

function explainByRule(image) {
  if (image.reference) return "a reference image";
  const isElsewhere = chosen === "folder" && !isInFolder(image);
  const { title, explain } = KEEPER_RULES[isElsewhere ? "largest" : chosen];
  return escapeInvisible(`${title}: ${explain(image)}`);
}

function listOrders(card) {
  const sorted = card.members.map(getImage).sort((a, b) => (a.key < b.key ? -1 : 1));
  const places = new Map(sorted.map((image, place) => [image, place]));
  const byName = { value: (image) => places.get(image), tie: 0 };
  return [byReference, ...(chosen === "folder" ? [byFolder] : []), ...KEEPER_RULES[chosen].orders, byName];
}

/** Order images by the first order, those that it does not tell apart by the next one, and so on. */
function orderImages(images, [order, ...others]) {
  if (!order || images.length < 2) return images;
  const sorted = images.map((image) => [order.value(image), image]).sort(([a], [b]) => (a === b ? 0 : a - b));
  const ties = [];
  let lowest;
  for (const [value, image] of sorted) {
    if (!ties.length || (value !== lowest && value - lowest >= order.tie)) {
      ties.push([]);
      lowest = value;
    }
    ties.at(-1).push(image);
  }
  return ties.flatMap((tied) => orderImages(tied, others));
}

function isInFolder(image) {
  return image.folder.includes(folder);
}

/** Whether an image may be dropped for another one: if the plan does that, in either direction, or would. */
function isDuplicate(card, keeper, member) {
  if (keeper.sha256 && keeper.sha256 === member.sha256) return true;
  const isInPlan = [
    [keeper, member],
    [member, keeper],
  ].some(([one, other]) => one.suggestion?.keeper === other.number);
  if (isInPlan || !hasVerdicts) return isInPlan;
  const [one, other] = [keeper, member].map(({ number }) => card.members.indexOf(number));
  const haveContentOfFirst = [one, other].every((position) => position === 0 || card.kind[position]);
  return haveContentOfFirst || findVerdict(keeper.number, member.number)?.relation === "same";
}
