"""Find how one image lies in another: mirrored or in quarter turns as a whole, or anyhow by keypoints."""

from dataclasses import dataclass

import cv2
import numpy as np

from fastdup_ray.common.arrays import DoubleArray, FloatArray, IntArray
from fastdup_ray.verify.detail_image import DetailImage, Keypoints
from fastdup_ray.verify.filters import shrink
from fastdup_ray.verify.overlay import QUARTER_TURNS, Overlay, make_square

RATIO = 0.85
"""Lowe's ratio: the best match has to be nearer than this part of the second best (D. Lowe, 2004, section 7.1)."""

FEWEST_INLIERS = 8
"""Matches that have to agree on an alignment."""

ENOUGH_CORNERS = 128
"""Corners of both images from which on blobs show nothing that corners do not."""

TOLERANCE, CLOSE = 3.0, 1.0
"""Pixels by which a match may miss its place; and a point that was followed."""

CONFIDENCE = 0.995
"""Of RANSAC."""

POINTS, POINT_DISTANCE, FOLLOWED = 200, 8, 15
"""Points that are followed to improve an alignment: how many, and how far apart and how wide, in pixels."""

MOST_ENLARGED, MOST_STRETCHED = 10.0, 1.8
"""Factors by which an image is enlarged at most, and by which it is at most enlarged more in one direction."""

FAR = 0.05
"""What an alignment is moved by at most, in parts of the image."""

IN_DOUBT = 0.01
"""By how much a turned image has to fit better than the image as it is."""


@dataclass(frozen=True)
class Alignment:
    """How the second image lies in the first.

    Attributes:
        matrix: (2, 3) float64; takes places of the second image to places of the first, both from 0 to 1 of width and
            height.
        inliers: Matches of keypoints that agree.
    """

    matrix: DoubleArray
    inliers: int


def find_quarter_turn(first: DetailImage, second: DetailImage) -> tuple[str, float]:
    """Return which of `QUARTER_TURNS` fits best by thumbnails, and their correlation."""
    names = list(QUARTER_TURNS)
    correlations = _turn_small(second) @ first.small.reshape(-1)
    best = int(correlations.argmax())
    if correlations[best] <= correlations[0] + IN_DOUBT:
        best = 0
    return names[best], float(correlations[best])


def _turn_small(image: DetailImage) -> FloatArray:
    """Return (8, SMALL * SMALL) float32, the thumbnail in each of `QUARTER_TURNS`."""
    small = image.small
    across = small[:, ::-1]
    turned = (small, across, across[::-1], small[::-1], small.T[:, ::-1], small.T[::-1], small.T, across[::-1].T)
    return np.stack([each.reshape(-1) for each in turned])


def align_by_keypoints(first: DetailImage, second: DetailImage) -> Alignment | None:
    """Align two images by an affine map of their keypoints; None if too few agree.

    Corners are found in a fifth of the time of blobs, which are for images with few of them.
    """
    by_corners = _align(first, second, first.corners, second.corners)
    if by_corners is not None or min(len(image.corners.places) for image in (first, second)) >= ENOUGH_CORNERS:
        return by_corners
    return _align(first, second, first.blobs, second.blobs)


def _align(first: DetailImage, second: DetailImage, own: Keypoints, others: Keypoints) -> Alignment | None:
    places, other_places = match_keypoints(own, others)
    if len(places) < FEWEST_INLIERS:
        return None
    (height, width), (other_height, other_width) = first.gray.shape, second.gray.shape
    size, other_size = (np.array(sides, np.float32) for sides in ((width, height), (other_width, other_height)))
    matrix, inliers = _estimate_map(other_places * other_size, places * size, TOLERANCE)
    if matrix is None:
        return None
    stretch = np.linalg.svd(matrix[:, :2], compute_uv=False)
    if stretch[1] < 1 / MOST_ENLARGED or stretch[0] > MOST_ENLARGED or stretch[0] > MOST_STRETCHED * stretch[1]:
        return None
    unit = np.diag([1 / size[0], 1 / size[1], 1.0]) @ make_square(matrix) @ np.diag([*other_size, 1.0])
    return Alignment(unit[:2], inliers)


def _estimate_map(source: FloatArray, target: FloatArray, tolerance: float) -> tuple[DoubleArray | None, int]:
    """Return the (2, 3) affine map that takes most of the (m, 2) points to others, and how many; None if too few."""
    matrix, inliers = cv2.estimateAffine2D(
        source, target, method=cv2.RANSAC, ransacReprojThreshold=tolerance, maxIters=2000, confidence=CONFIDENCE
    )
    count = 0 if inliers is None else int(inliers.sum())
    return (None if matrix is None or count < FEWEST_INLIERS else np.asarray(matrix, np.float64)), count


def match_keypoints(own: Keypoints, others: Keypoints) -> tuple[FloatArray, FloatArray]:
    """Return (m, 2) places in both images of keypoints that look alike, each once."""
    none = np.empty((0, 2), np.float32)
    if min(len(own.places), len(others.places)) < FEWEST_INLIERS:
        return none, none
    distances, targets = _find_nearest_two(others, own)
    good = np.flatnonzero(distances[:, 0] < RATIO * distances[:, 1])
    matches = zip(distances[good, 0].tolist(), targets[good].tolist(), good.tolist(), strict=True)
    nearest = {target: source for _, target, source in sorted(matches, reverse=True)}  # the last one is the nearest
    rows = np.array(list(nearest.items()), np.int64).reshape(-1, 2)
    return own.places[rows[:, 0]], others.places[rows[:, 1]]


def _find_nearest_two(queries: Keypoints, others: Keypoints) -> tuple[FloatArray, IntArray]:
    """Return for each of m keypoints the distances to the two nearest of others, (m, 2), and the (m,) nearest one."""
    kind = cv2.CV_32S if queries.norm == cv2.NORM_HAMMING else cv2.CV_32F
    found = cv2.batchDistance(queries.descriptors, others.descriptors, kind, normType=queries.norm, K=2)
    return np.asarray(found[0], np.float32), np.asarray(found[1], np.int64)[:, 0]


def refine(alignment: Alignment, overlay: Overlay) -> Alignment:
    """Improve an alignment by following its points from one image to the other; keep it if too few can be followed.

    Source: B. Lucas and T. Kanade, An Iterative Image Registration Technique with an Application to Stereo Vision,
    1981; J.-Y. Bouguet, Pyramidal Implementation of the Lucas Kanade Feature Tracker, 2001.
    """
    inside = shrink(overlay.inside, FOLLOWED // 2)
    found = cv2.goodFeaturesToTrack(overlay.gray, POINTS, 0.01, POINT_DISTANCE, mask=inside.view(np.uint8))
    if found is None or len(found) < FEWEST_INLIERS:
        return alignment
    points = np.asarray(found, np.float32)
    followed, status, _ = cv2.calcOpticalFlowPyrLK(
        overlay.gray,
        overlay.laid,
        points,
        points.copy(),
        winSize=(FOLLOWED, FOLLOWED),
        maxLevel=2,
        flags=cv2.OPTFLOW_USE_INITIAL_FLOW,
    )
    seen = np.asarray(status).reshape(-1) == 1
    if seen.sum() < FEWEST_INLIERS:
        return alignment
    step, _ = _estimate_map(np.asarray(followed, np.float32)[seen], points[seen], CLOSE)
    if step is None:
        return alignment
    refined = (make_square(_to_unit(step, overlay.size)) @ make_square(alignment.matrix))[:2]
    return Alignment(refined, alignment.inliers) if np.abs(refined - alignment.matrix).max() < FAR else alignment


def _to_unit(matrix: DoubleArray, size: tuple[int, int]) -> DoubleArray:
    """Return the map of places from 0 to 1 for one of pixels, within one frame."""
    to_pixels = np.array([[size[0], 0, -0.5], [0, size[1], -0.5], [0, 0, 1]])
    unit: DoubleArray = (np.linalg.inv(to_pixels) @ make_square(matrix) @ to_pixels)[:2]
    return unit
