"""Find how one image lies in another: mirrored or in quarter turns as a whole, or anyhow by keypoints."""

import math
from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np

from fastdup_ray.common.arrays import AnyArray, BoolArray, ByteArray, DoubleArray, FloatArray, IntArray
from fastdup_ray.verify.detail_image import DetailImage, Keypoints
from fastdup_ray.verify.filters import correlate, fit_size, leave_rim, reduce_much, shrink

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

REDUCE = 0.7
"""Scale below which an image is reduced before it is laid on another one."""

COVER_SIDE = 200
"""Pixels of the side of the square on which covers are measured."""

FIXED_POINT = 16
"""Steps of a pixel at which polygons are drawn."""


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


QUARTER_TURNS: dict[str, DoubleArray] = {
    "": np.array([[1, 0, 0], [0, 1, 0]], float),
    "mirrored": np.array([[-1, 0, 1], [0, 1, 0]], float),
    "half": np.array([[-1, 0, 1], [0, -1, 1]], float),
    "flipped": np.array([[1, 0, 0], [0, -1, 1]], float),
    "right": np.array([[0, -1, 1], [1, 0, 0]], float),
    "left": np.array([[0, 1, 0], [-1, 0, 1]], float),
    "transposed": np.array([[0, 1, 0], [1, 0, 0]], float),
    "transversed": np.array([[0, -1, 1], [-1, 0, 1]], float),
}
"""The eight ways to lay a whole image on another one."""


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


def lay(image: ByteArray, matrix: DoubleArray, size: tuple[int, int]) -> ByteArray:
    """Resample an image into the frame of another one.

    Args:
        image: (height, width) or (height, width, channels) uint8.
        matrix: See `Alignment`.
        size: Width and height of the frame.

    Returns:
        (height, width) or (height, width, channels) of the frame. Where the image has nothing, its border is repeated.
    """
    height, width = image.shape[:2]
    if np.array_equal(matrix, QUARTER_TURNS[""]):
        return reduce_much(image, size) if width >= size[0] and height >= size[1] else _enlarge(image, size)
    pixels = _to_pixels(matrix, (width, height), size)
    scale = math.sqrt(abs(np.linalg.det(pixels[:, :2])))
    if scale < REDUCE:  # average, rather than skip, the pixels that become one
        smaller = fit_size((width, height), max(2, round(max(height, width) * scale)))
        if smaller != (width, height):
            return lay(reduce_much(image, smaller), matrix, size)
    return _warp(image, pixels, size)


def _warp(image: ByteArray, pixels: DoubleArray, size: tuple[int, int]) -> ByteArray:
    laid = cv2.warpAffine(image, pixels, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(laid, np.uint8)


def _enlarge(image: ByteArray, size: tuple[int, int]) -> ByteArray:
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_LINEAR), np.uint8)


def _to_pixels(matrix: DoubleArray, source: tuple[int, int], target: tuple[int, int]) -> DoubleArray:
    """Return the (..., 2, 3) maps between pixels of images of these widths and heights."""
    # Pixel centers are at half numbers: (x + 0.5) / width is from 0 to 1.
    from_pixels = np.array([[1 / source[0], 0, 0.5 / source[0]], [0, 1 / source[1], 0.5 / source[1]], [0, 0, 1]])
    to_pixels = np.array([[target[0], 0, -0.5], [0, target[1], -0.5], [0, 0, 1]])
    pixels: DoubleArray = to_pixels[:2] @ _square(matrix) @ from_pixels
    return pixels


def invert(matrix: DoubleArray) -> DoubleArray:
    """Return the map in the other direction."""
    return np.asarray(np.linalg.inv(_square(matrix))[:2], np.float64)


def _square(matrix: DoubleArray) -> DoubleArray:
    """Return (..., 3, 3) for (..., 2, 3) maps."""
    last = np.broadcast_to([[0.0, 0.0, 1.0]], (*matrix.shape[:-2], 1, 3))
    return np.concatenate([matrix, last], axis=-2)


def find_mask(matrix: DoubleArray, size: tuple[int, int]) -> BoolArray:
    """Return (height, width) bool: which pixels of a frame lie in an image that is laid on it."""
    return _fill(_find_corners(matrix, size), size)


def _find_corners(matrix: DoubleArray, size: tuple[int, int]) -> AnyArray:
    """Return (..., 4, 2) int32 corners of an image in a frame, in parts of a pixel, for (..., 2, 3) maps."""
    corners = np.array([[0, 0, 1], [1, 0, 1], [1, 1, 1], [0, 1, 1]], float) @ matrix.swapaxes(-2, -1) * size - 0.5
    return np.rint(corners * FIXED_POINT).clip(-(2**30), 2**30).astype(np.int32)


def _fill(corners: AnyArray, size: tuple[int, int]) -> BoolArray:
    mask = np.zeros((size[1], size[0]), np.uint8)
    cv2.fillConvexPoly(mask, corners, 1, shift=FIXED_POINT.bit_length() - 1)
    return mask.view(bool)


def measure_covers(matrix: DoubleArray) -> tuple[float, float]:
    """Return which part of the first image the second one covers, and which part of the second the first one."""
    first, second = (float(find_mask(way, (COVER_SIDE, COVER_SIDE)).mean()) for way in (matrix, invert(matrix)))
    return first, second


@dataclass(frozen=True)
class Overlay:
    """Gray levels of an image, and those of another one that is laid on it.

    Attributes:
        matrix: See `Alignment`.
        gray: (height, width) uint8.
        other: The same, of the image that is laid on it.
    """

    matrix: DoubleArray
    gray: ByteArray
    other: ByteArray

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the frame."""
        return self.gray.shape[1], self.gray.shape[0]

    @cached_property
    def inside(self) -> BoolArray:
        """(height, width), which pixels lie in the other image."""
        return find_mask(self.matrix, self.size)

    @cached_property
    def laid(self) -> ByteArray:
        """(height, width) gray levels of the other image in the frame of the first."""
        return lay(self.other, self.matrix, self.size)

    @cached_property
    def correlation(self) -> float:
        """Correlation of the gray levels where both images have some; 0 where one of them is flat."""
        return correlate(self.gray, self.laid, self.inside)


def correlate_each(matrices: DoubleArray, gray: ByteArray, other: ByteArray, rim: int) -> DoubleArray:
    """Return the correlations of gray levels with others that are laid on them in several ways.

    Args:
        matrices: (n, 2, 3), see `Alignment`.
        gray: (height, width) uint8.
        other: The same, of the image that is laid on it.
        rim: Pixels at the border of what both show that are left out.
    """
    size, other_size = gray.shape[::-1], other.shape[::-1]
    pixels = _to_pixels(matrices, other_size, size)
    is_reduced = np.abs(np.linalg.det(pixels[:, :, :2])) < REDUCE**2
    values = [
        correlate(
            gray,
            lay(other, matrices[n], size) if is_reduced[n] else _warp(other, pixels[n], size),
            leave_rim(_fill(corners, size), rim),
        )
        for n, corners in enumerate(_find_corners(matrices, size))
    ]
    return np.array(values)


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
    unit = np.diag([1 / size[0], 1 / size[1], 1.0]) @ _square(matrix) @ np.diag([*other_size, 1.0])
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
    if queries.norm != cv2.NORM_HAMMING:
        found = cv2.batchDistance(queries.descriptors, others.descriptors, cv2.CV_32F, normType=queries.norm, K=2)
        return np.asarray(found[0], np.float32), np.asarray(found[1], np.int64)[:, 0]
    own, words = (np.ascontiguousarray(each.descriptors).view(np.uint64) for each in (queries, others))
    distances = np.zeros((len(own), len(words)), np.uint8)
    for own_word, word in zip(own.T, words.T, strict=True):
        distances = np.asarray(cv2.add(distances, np.bitwise_count(own_word[:, None] ^ word)), np.uint8)  # at most 255
    rows, nearest = np.arange(len(own)), distances.argmin(axis=1)
    least = distances[rows, nearest]
    distances[rows, nearest] = 255
    return np.stack([least, distances.min(axis=1)], axis=1).astype(np.float32), nearest


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
    refined = (_square(_to_unit(step, overlay.size)) @ _square(alignment.matrix))[:2]
    return Alignment(refined, alignment.inliers) if np.abs(refined - alignment.matrix).max() < FAR else alignment


def _to_unit(matrix: DoubleArray, size: tuple[int, int]) -> DoubleArray:
    """Return the map of places from 0 to 1 for one of pixels, within one frame."""
    to_pixels = np.array([[size[0], 0, -0.5], [0, size[1], -0.5], [0, 0, 1]])
    unit: DoubleArray = (np.linalg.inv(to_pixels) @ _square(matrix) @ to_pixels)[:2]
    return unit
