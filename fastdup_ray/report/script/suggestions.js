// What is suggested for the images of a card, in words: by default what the command `plan` drops.
import { data, getImage } from "./data.js";
import { escapeInvisible } from "./format.js";
import { getSuggestedKeeper, getSuggestion } from "./keeper_rules.js";
import { getRelation, hasVerdicts } from "./verdicts.js";

export function countSuggestedDrops(card) {
  return card.members.filter((_, position) => getSuggestedKeeper(card, position) >= 0).length;
}

/** Bytes of the images that are suggested to be dropped. */
export function sumSuggestedBytes(card) {
  const sizes = card.members.map((member, position) =>
    getSuggestedKeeper(card, position) < 0 ? 0 : (getImage(member).size ?? 0),
  );
  return sizes.reduce((sum, size) => sum + size, 0);
}

/** What is suggested for an image, and why not to drop it; "" for the first image if it is kept. */
export function explainSuggestion(card, position) {
  const keeper = getSuggestedKeeper(card, position);
  if (keeper >= 0) {
    const isFirst = keeper === card.members[0];
    return `Suggested to drop${isFirst ? "" : `: duplicate of ${escapeInvisible(getImage(keeper).base)}`}`;
  }
  if (position === 0) return "";
  return `Not suggested to drop: ${explainKept(card, position)}`;
}

function explainKept(card, position) {
  const member = card.members[position];
  const { fixed } = getImage(member);
  if (fixed) return fixed;
  const suggestion = getSuggestion(card, position);
  if (suggestion?.rule === data.plan.sidecar) return escapeInvisible(suggestion.reason);
  if (!hasVerdicts) return "similar, but not verified to be the same";
  const relation = getRelation(member, card.members[0]);
  return relation === "same" ? "the image that it repeats is not kept" : relation;
}
