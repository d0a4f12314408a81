// What is suggested for the images of a card, in words: by default what the command `plan` drops.
import { getImage } from "./data.js";
import { escapeInvisible } from "./format.js";
import { getSuggestedKeeper } from "./keeper_rules.js";
import { getRelation } from "./verdicts.js";

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
