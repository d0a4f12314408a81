"""Say what the relation of two images is, with evidence."""

import math
from dataclasses import dataclass, replace

import numpy as np

from fastdup_ray.common.arrays import DoubleArray
from fastdup_ray.common.relations import Loss, Relation
from fastdup_ray.verify.alignment import Alignment, align_by_keypoints, find_quarter_turn, refine
from fastdup_ray.verify.dense_alignment import align_by_margins, align_by_sliding
from fastdup_ray.verify.detail_image import DETAIL, DetailImage, Storage
from fastdup_ray.verify.difference import NEXT_TO_NOTHING, SLACK, SMALL, Difference, measure_difference
from fastdup_ray.verify.exact_edits import find_edit
from fastdup_ray.verify.filters import fit_size, leave_rim, reduce_much
from fastdup_ray.verify.overlay import QUARTER_TURNS, Overlay, find_mask, invert, lay, measure_covers
from fastdup_ray.verify.rotation_search import align_by_rotation
from fastdup_ray.verify.surroundings import classify_surroundings
from fastdup_ray.verify.tone import ToneMatch

OVERVIEW, MUCH_LARGER = 192, 1.4
"""Longest side, in pixels, at which images are compared first, if they are larger by more than this factor."""

CERTAIN, AGREES_FROM_AFAR, LEAST_AGREEMENT = 2.0, 0.65, 0.45
"""They are not compared any further if at this size the largest difference is above the first value though they agree
by more than the second, or if they agree by less than the third."""

PART_DETAIL = 768
"""Longest side, in pixels, at which images are compared of which one is a part of the other, or turned."""

AGREES = 0.75
"""Agreement above which two aligned images show the same."""

MAX_LOSS = 0.28
"""Usual difference, in parts of the contrast, that saving an image again explains. Blurring or noise change more."""

SLACK_IF_EXACT, LOSS_IF_EXACT = 0.7, 0.06
"""The largest and the usual difference of two cut-outs of one size that are both stored exactly, or both by a palette:
frames of an animation, tiles with other grains, stars with 25 and with 26 points. Making a palette of an exact file
changes as much."""

AGREES_IN_PARTS = 0.5
"""Agreement above which two images that keypoints have aligned show the same; the rest of it may be altered."""

VERY_ALIKE, ALIKE = 0.85, 0.6
"""Correlations of thumbnails above which two images are compared as a whole: before their parts are, or only if no part
of one is in the other. Of 430 pairs in between none is the same as a whole."""

SEEN = 0.004
"""Part of an image with something to see, below which nothing can be told."""

SMOOTH, CORRELATES_SMOOTHLY = 8.0, 0.98
"""Images without details, such as a sky, are compared by their gray levels alone, if these have more than this standard
deviation: whole images have to be equal as they are, and parts to have this correlation."""

RIM = 3
"""Pixels at the border of a part that are not compared."""

WELL_ALIGNED = 0.9
"""Agreement above which two whole images are not shifted by a few pixels."""

CERTAIN_INLIERS, CORRELATES, CORRELATES_WELL = 30, 0.4, 0.8
"""An alignment by fewer keypoints, and with a lower correlation of gray levels, is taken for chance; the last value is
for one without keypoints."""

CORRELATES_AT_ALL, CORRELATES_ROUGHLY = 0.2, 0.35
"""Correlations below which an alignment is not worth improving: one by many keypoints, and any other."""

MOST_ALTERED = 0.25
"""Part of what both show that differs at most where something was put in or taken out; of 106 altered images of a
benchmark none differed by more, of 8 pairs of others that were taken for altered 6 did."""

WHOLE = 0.97
"""Part of an image that counts as all of it."""

LEAST_OVERLAP = 0.08
"""Part of the smaller image that both have to have in common."""

STRAIGHT = 1.5
"""Degrees up to which an image is not turned."""


@dataclass(frozen=True)
class Verdict:
    """The relation of two images.

    Attributes:
        relation: What they are to each other.
        cover_from: Part of the first image that the second one shows, from 0 to 1.
        cover_to: Part of the second image that the first one shows.
        difference: Part of what both show that differs.
        box: left, top, right and bottom of the largest difference, from 0 to 1 of the first image.
        matrix: (2, 3) float64; takes places of the second image, from 0 to 1 of its width and height, to the first.
        agreement: How much of what both show is alike, from 0 to 1.
        inliers: Keypoints that agree; 0 if whole images were compared.
        lost_from: What the first image has lost, if they are the same but for that.
        lost_to: What the second image has lost.
    """

    relation: Relation
    cover_from: float = 0.0
    cover_to: float = 0.0
    difference: float = 0.0
    box: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)
    matrix: DoubleArray | None = None
    agreement: float = 0.0
    inliers: int = 0
    lost_from: Loss | None = None
    lost_to: Loss | None = None


def relate_images(first: DetailImage, second: DetailImage) -> Verdict:
    """Return the relation of two images.

    Whole images whose thumbnails are alike are compared first, as they are, mirrored or in quarter turns, as most
    duplicates are. If they do not agree, keypoints say how one lies in the other.
    """
    if np.array_equal(first.pixels, second.pixels):
        return Verdict(Relation.SAME, 1.0, 1.0, matrix=QUARTER_TURNS[""], agreement=1.0)
    flat = [image.is_flat for image in (first, second)]
    if any(flat):
        return Verdict(Relation.UNSURE if all(flat) else Relation.DIFFERENT)
    turn, correlation = find_quarter_turn(first, second)
    whole = _compare_whole(first, second, turn) if correlation > VERY_ALIKE else None
    if whole is not None and _is_settled(whole):
        return whole
    parts = _compare_parts(first, second) or Verdict(Relation.DIFFERENT)
    is_part = parts.relation is not Relation.DIFFERENT and min(parts.cover_from, parts.cover_to) < WHOLE
    if whole is None and correlation > ALIKE and not is_part:
        whole = _compare_whole(first, second, turn)
    return parts if whole is None else _choose(whole, parts)


def _is_settled(whole: Verdict) -> bool:
    """Return whether two whole images need no comparison of their parts."""
    if whole.relation is Relation.ALTERED:
        return whole.agreement > WELL_ALIGNED
    return whole.relation in (Relation.SAME, Relation.MIRRORED, Relation.TURNED)


def _choose(whole: Verdict, parts: Verdict) -> Verdict:
    """Return which of two verdicts holds, of whole images and of their parts."""
    are_parts = parts.relation is not Relation.DIFFERENT
    if _is_settled(whole):
        return whole
    if are_parts and (whole.relation is Relation.DIFFERENT or parts.difference < whole.difference):
        return parts
    may_be_altered = whole.agreement > AGREES_IN_PARTS and whole.difference <= MOST_ALTERED
    if whole.relation is Relation.DIFFERENT and may_be_altered:
        return replace(whole, relation=Relation.ALTERED)
    return whole


def _compare_whole(first: DetailImage, second: DetailImage, turn: str) -> Verdict:
    matrix = QUARTER_TURNS[turn]
    found = _measure(first, second, matrix, DETAIL, is_part=False)
    verdict = Verdict(Relation.DIFFERENT, 1.0, 1.0, found.share, found.box, matrix, found.agreement)
    if found.seen < SEEN:
        is_equal = found.tones is None and found.strength < 1 and first.contrast > SMOOTH
        if not is_equal:
            return replace(verdict, relation=Relation.UNSURE)
        verdict, found = replace(verdict, agreement=1.0), replace(found, agreement=1.0)
    if found.agreement < AGREES:
        return replace(verdict, relation=Relation.ALTERED) if found.common > SMOOTH else verdict
    slack, loss = (SLACK_IF_EXACT, LOSS_IF_EXACT) if _are_stored_alike(first, second) else (SLACK, MAX_LOSS)
    if found.strength > slack or found.loss > loss:
        return replace(verdict, relation=Relation.ALTERED)
    if turn in ("mirrored", "flipped", "transposed", "transversed"):
        return replace(verdict, relation=Relation.MIRRORED)
    if turn:
        return replace(verdict, relation=Relation.TURNED)
    if (box := find_edit(first.pixels, second.pixels)) is not None:
        return replace(verdict, relation=Relation.ALTERED, box=box)
    return replace(verdict, relation=Relation.SAME)


def _are_stored_alike(first: DetailImage, second: DetailImage) -> bool:
    """Return whether neither compression nor resampling explains what differs between two cut-outs.

    Nobody makes a JPEG of one in between, as may have happened to an image without transparent parts.
    """
    is_exact = first.storage is second.storage is not Storage.LOSSY
    return is_exact and first.is_cut_out and second.is_cut_out and first.pixels.shape == second.pixels.shape


def _compare_parts(first: DetailImage, second: DetailImage) -> Verdict | None:
    """Align the images in one way after the other, until they show the same; None if none fits."""
    best = None
    for align in (align_by_keypoints, align_by_margins, align_by_sliding, align_by_rotation):
        alignment = align(first, second)
        verdict = None if alignment is None else _compare_aligned(first, second, alignment)
        if verdict is None:
            continue
        if verdict.relation not in (Relation.DIFFERENT, Relation.ALTERED) or verdict.inliers >= CERTAIN_INLIERS:
            return verdict
        if best is None or best.relation is Relation.DIFFERENT:
            best = verdict
    return best


def _compare_aligned(first: DetailImage, second: DetailImage, alignment: Alignment) -> Verdict | None:
    is_certain = alignment.inliers >= CERTAIN_INLIERS
    overlay = Overlay(alignment.matrix, first.gray, second.gray)
    if overlay.correlation < (CORRELATES_AT_ALL if is_certain else CORRELATES_ROUGHLY):
        return None
    matrix = refine(alignment, overlay).matrix
    overlay = Overlay(matrix, first.gray, second.gray)
    cover_from, cover_to = measure_covers(matrix)
    if max(cover_from, cover_to) < LEAST_OVERLAP:
        return None
    least = CORRELATES if alignment.inliers else CORRELATES_WELL
    if not is_certain and overlay.correlation < least:
        return None
    found = _measure(first, second, matrix, PART_DETAIL, is_part=True)
    verdict = Verdict(
        Relation.DIFFERENT, cover_from, cover_to, found.share, found.box, matrix, found.agreement, alignment.inliers
    )
    is_smooth = found.seen < SEEN and first.contrast > SMOOTH
    if is_smooth and overlay.correlation < CORRELATES_SMOOTHLY:
        return verdict
    if not is_smooth and (found.agreement < AGREES_IN_PARTS or found.seen < SEEN):
        return verdict
    if found.share > MOST_ALTERED:
        return verdict
    if found.share > NEXT_TO_NOTHING:
        return replace(verdict, relation=Relation.ALTERED)
    degrees = abs(math.degrees(math.atan2(*_get_rotation(first, second, matrix))))
    if degrees > STRAIGHT:
        return replace(verdict, relation=Relation.TURNED)
    if min(cover_from, cover_to) >= WHOLE and found.strength > SLACK:
        return replace(verdict, relation=Relation.ALTERED)
    if max(cover_from, cover_to) < WHOLE or min(cover_from, cover_to) >= WHOLE:
        return replace(verdict, relation=Relation.CROPPED)
    outer, inner_matrix = (first, matrix) if cover_from < cover_to else (second, invert(matrix))
    return replace(verdict, relation=classify_surroundings(outer, inner_matrix))


def _measure(first: DetailImage, second: DetailImage, matrix: DoubleArray, side: int, *, is_part: bool) -> Difference:
    """Compare two images in the frame of the first, with no more pixels than either has.

    They are compared in an overview first: what differs there needs no closer look.
    """
    size = choose_size(first, second, matrix, side)
    overview, tones = fit_size(size, OVERVIEW), None
    if max(size) > MUCH_LARGER * OVERVIEW and min(overview) >= SMALL:
        found = _measure_at(first, second, matrix, overview, is_part=is_part)
        is_altered = found.strength > CERTAIN and found.agreement > AGREES_FROM_AFAR
        if is_altered or found.agreement < LEAST_AGREEMENT:
            return found
        tones = found.tones
    return _measure_at(first, second, matrix, size, is_part=is_part, tones=tones)


def choose_size(first: DetailImage, second: DetailImage, matrix: DoubleArray, side: int) -> tuple[int, int]:
    """Return width and height at which two images are compared: at most `side`, and no more pixels than either has."""
    height, width = first.pixels.shape[:2]
    other_height, other_width = second.pixels.shape[:2]
    enlarged = math.sqrt(abs(np.linalg.det(matrix[:, :2])) * (width * height) / (other_width * other_height))
    return fit_size((width, height), min(side, max(8, round(max(width, height) / max(1.0, enlarged)))))


def _measure_at(
    first: DetailImage,
    second: DetailImage,
    matrix: DoubleArray,
    size: tuple[int, int],
    *,
    is_part: bool,
    tones: ToneMatch | None = None,
) -> Difference:
    """Compare two images at one size.

    Where one is a part of the other, the last pixels at its border are left out: they have some of what is beside it.
    """
    mask = leave_rim(find_mask(matrix, size), RIM) if is_part else None
    is_sprite = first.is_cut_out and second.is_cut_out  # in other colors it is another one
    as_they_are = is_sprite or any(image.is_small_drawing or image.has_few_tones for image in (first, second))
    pixels, laid = reduce_much(first.pixels, size), lay(second.pixels, matrix, size)
    return measure_difference(pixels, laid, mask, tones, as_they_are=as_they_are)


def _get_rotation(first: DetailImage, second: DetailImage, matrix: DoubleArray) -> tuple[float, float]:
    """Return sine and cosine, times a scale, of the angle by which the second image is turned."""
    height, width = first.pixels.shape[:2]
    other_width = second.pixels.shape[1]
    other_height = second.pixels.shape[0]
    across = matrix[0, 0] * width / other_width, matrix[1, 0] * height / other_width
    down = matrix[0, 1] * width / other_height, matrix[1, 1] * height / other_height
    return across[1] - down[0], across[0] + down[1]
