// The similarities that a page knows: of the images of a card to the first one, and of its first images to each other.
import { data, getImage } from "./data.js";

/** The similarity of the images at two positions of a card, or their distance on a pair; null if the page does not know it. */
export function getPairSimilarity(card, left, right) {
  const [low, high] = [Math.min(left, right), Math.max(left, right)];
  if (card.isPair) return card.value;
  if (low < 0) return null;
  if (low === high) return 1;
  if (low === 0) return card.similarity?.[high] ?? null;
  if (!card.between) return null;
  const rows = (1 + Math.sqrt(1 + 8 * card.between.length)) / 2; // images besides the first
  if (high <= rows) return card.between[(low - 1) * rows - ((low - 1) * low) / 2 + (high - low - 1)];
  return [low, high].every((position) => card.least_similar.includes(position)) ? card.lowest : null;
}

/** The cosine of an image and its keeper, by their numbers; null if the page does not know it. */
export function findSimilarity(card, number, keeper) {
  const [image, other] = [number, keeper].map(getImage);
  if (image.sha256 && image.sha256 === other.sha256) return 1;
  if (image.suggestion?.keeper === keeper) return image.suggestion.similarity;
  if (card.isPair && !data.cosine) return null;
  return getPairSimilarity(card, card.members.indexOf(number), card.members.indexOf(keeper));
}
