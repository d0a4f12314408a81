// The verdict on two images: their relation, and the evidence for it.
import { invertMap, mapBox, UNCHANGED } from "./affine.js";
import { data, getImage } from "./data.js";
import { createElement } from "./dom.js";

/** Whether the run verified pairs. */
export const hasVerdicts = Boolean(data.verified);

export const NOT_COMPARED = "not compared";
export const RELATIONS = hasVerdicts ? [...data.verified.relations, NOT_COMPARED] : [];

const MEANINGS = {
  same: "", // the word says it
  cropped: "one is a part of the other, or both of one image",
  padded: "one has bars or a frame",
  embedded: "one is inside the other",
  turned: "one is rotated",
  mirrored: "one is mirrored",
  altered: "something was put in or taken out",
  different: "not one image",
  unsure: "too little to see, or more in the file than is compared",
};
const ALL = 0.995; // part of an image that is called all of it

const verdicts = new Map();
for (const [first, second, relation, coverFirst, coverSecond, difference, matrix, box] of data.verified?.pairs ?? []) {
  const isUnchanged = matrix && !matrix.length;
  verdicts.set(`${first} ${second}`, {
    relation: RELATIONS[relation],
    cover: coverFirst,
    coverOther: coverSecond,
    difference,
    matrix: isUnchanged ? UNCHANGED : matrix,
    box: box ?? null,
  });
}

function reverseVerdict(verdict) {
  const matrix = verdict.matrix && invertMap(verdict.matrix);
  const box =
    verdict.box && (matrix ? mapBox(matrix, verdict.box).map((place) => Math.min(Math.max(place, 0), 1)) : null);
  return { ...verdict, cover: verdict.coverOther, coverOther: verdict.cover, matrix, box };
}

/**
 * What an image is to another one, or null if the page does not know: relation, cover and coverOther (the part of each
 * that the other one shows), difference (the part of what both show that differs), matrix (takes places of the other
 * image to this one, or null), and box (of the largest difference, in this image, or null).
 */
export function findVerdict(number, other) {
  if (!hasVerdicts || number === other) return null;
  const { sha256 } = getImage(number);
  if (sha256 && sha256 === getImage(other).sha256) {
    return { relation: "same", cover: 1, coverOther: 1, difference: 0, matrix: UNCHANGED, box: null };
  }
  const verdict = verdicts.get(`${number} ${other}`);
  if (verdict) return verdict;
  const reverse = verdicts.get(`${other} ${number}`);
  return reverse ? reverseVerdict(reverse) : null;
}

/** The relation of two images in a word. */
export function getRelation(number, other) {
  return findVerdict(number, other)?.relation ?? NOT_COMPARED;
}

/** "63 %", "0.034 %". */
function formatPart(part) {
  return part >= ALL ? "100 %" : `${Number((100 * part).toPrecision(2))} %`;
}

/** The evidence, such as "0.2 % of the area differs", "one is rotated; shows 63 % of the other"; "" if there is none. */
export function describeVerdict({ relation, cover, coverOther, difference }) {
  const isSeen = relation !== "different" && relation !== "unsure";
  const isPart = Math.min(cover, coverOther) < ALL;
  return [
    MEANINGS[relation],
    isSeen && isPart && `shows ${formatPart(coverOther)} of the other`,
    relation === "same" && !difference && "nothing differs but size, compression and overall tone",
    isSeen && difference > 0 && `${formatPart(difference)} of ${isPart ? "what both show" : "the area"} differs`,
  ]
    .filter(Boolean)
    .join("; ");
}

/** The badge of an image that was compared with another one; null if the run has not compared any. */
export function createRelationBadge(number, other) {
  if (!hasVerdicts) return null;
  const verdict = findVerdict(number, other);
  if (!verdict) return null;
  const { relation } = verdict;
  return createElement(
    "span",
    { class: "badge", "data-relation": relation, title: describeVerdict(verdict) },
    relation,
  );
}
