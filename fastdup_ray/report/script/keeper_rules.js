// Which image of a card is kept, by a rule that the user chooses, and which ones are suggested to be dropped for it.
import { getImage } from "./data.js";
import { escapeInvisible, formatBytes, formatPixels } from "./format.js";
import { findVerdict, hasVerdicts } from "./verdicts.js";

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
 * The rules. Each has: title, orders (the most important first), and explain (why an image is
 * kept). The first one is that of the run.
 */
export const KEEPER_RULES = {
  largest: { title: "largest image", orders: [byPixels, byBytes, byAge], explain: (image) => formatPixels(image) },
  bytes: { title: "largest file", orders: [byBytes, byPixels, byAge], explain: (image) => formatBytes(image.size) },
  oldest: { title: "oldest", orders: [byAge, byPixels, byBytes], explain: (image) => image.date || "date unknown" },
  folder: { title: "in this folder", orders: [byPixels, byBytes, byAge], explain: (image) => image.folder },
};
const [OF_RUN] = Object.keys(KEEPER_RULES);

let chosen = OF_RUN;
let folder = "";
let version = 0; // changes with the rule, so that what was computed by an earlier one is computed again

/** Keep images by another rule. name: of KEEPER_RULES. inFolder: a part of the paths to keep, for the rule `folder`. */
export function chooseKeeperRule(name, inFolder = "") {
  [chosen, folder] = [name, inFolder];
  version += 1;
}

/** Whether images are kept by the rule of the run. */
export function isRuleOfRun() {
  return chosen === OF_RUN || (chosen === "folder" && !folder);
}

/** The number of the image for which the one at a position is suggested to be dropped; -1 if it is not. */
export function getSuggestedKeeper(card, position) {
  if (card.assignedBy !== version) {
    card.assignedBy = version;
    card.assigned = isRuleOfRun() ? assignByRun(card) : assignByRule(card);
  }
  return card.assigned[position];
}

/** Whether other images of a card are suggested to be dropped for the one at a position. */
export function isSuggestedKeeper(card, position) {
  return card.members.some((_, other) => getSuggestedKeeper(card, other) === card.members[position]);
}

/** Why the image at a position is preferred to the others of its card; "" if it is not. */
export function explainKeeper(card, position) {
  if (isRuleOfRun()) return position === 0 ? (card.reason ?? "") : "";
  if (position < 0 || !isSuggestedKeeper(card, position)) return "";
  const image = getImage(card.members[position]);
  if (image.reference) return "a reference image";
  const { title, explain } = KEEPER_RULES[chosen];
  return chosen === "folder" && !isInFolder(image) ? "" : escapeInvisible(`${title}: ${explain(image)}`);
}

function assignByRun(card) {
  if (card.keepers) return card.keepers;
  return card.members.map((member, position) => (position && !getImage(member).fixed ? card.members[0] : -1));
}

/** As the command `plan` does: the first image in the order of the rule is kept, and its duplicates go; and so on. */
function assignByRule(card) {
  const keepers = new Map();
  let rest = orderImages(card.members.map(getImage), listOrders(card));
  if (hasVerdicts) rest = rest.filter((image) => image.reference || !image.fixed);
  while (rest.length) {
    const [keeper, ...others] = rest;
    const dropped = others.filter((other) => !other.fixed && isDuplicate(card, keeper.number, other.number));
    for (const { number } of dropped) keepers.set(number, keeper.number);
    rest = others.filter((other) => !dropped.includes(other));
  }
  return card.members.map((member) => keepers.get(member) ?? -1);
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

/** Whether an image may be dropped for another one: if the run verified pairs, only if they are the same. */
function isDuplicate(card, keeper, member) {
  if (!hasVerdicts) return true;
  const [one, other] = [keeper, member].map((number) => card.members.indexOf(number));
  const haveContentOfFirst = [one, other].every((position) => position === 0 || card.kind[position]);
  return haveContentOfFirst || findVerdict(keeper, member)?.relation === "same";
}
