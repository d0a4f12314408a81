// What is suggested for the images of a card: what the command `plan` drops, if the run verified pairs.
import { getImage } from "./data.js";
import { escapeInvisible } from "./format.js";
import { getRelation } from "./verdicts.js";

/** The number of the image for which the one at a position is suggested to be dropped; -1 if it is not. */
export function getSuggestedKeeper(card, position) {
  if (card.keepers) return card.keepers[position];
  return position > 0 && !getImage(card.members[position]).fixed ? card.members[0] : -1;
}

export function countSuggestedDrops(card) {
  return card.members.filter((_, position) => getSuggestedKeeper(card, position) >= 0).length;
}

/** Why an image is suggested to be dropped or not, where the badge with its relation to the first does not say it. */
export function explainSuggestion(card, position) {
  const keeper = getSuggestedKeeper(card, position);
  if (keeper >= 0) {
    const isFirst = keeper === card.members[0];
    return `Suggested to drop${isFirst ? "" : `: same image as ${escapeInvisible(getImage(keeper).base)}`}`;
  }
  if (position === 0) return "";
  return `Not suggested to drop: ${explainKept(card, card.members[position])}`;
}

function explainKept(card, member) {
  const { fixed } = getImage(member);
  if (fixed) return fixed;
  const relation = getRelation(member, card.members[0]);
  return relation === "same" ? "the image that it repeats is not kept" : relation;
}
