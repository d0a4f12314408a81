"""Find how one image lies in another: mirrored or in quarter turns as a whole, or anyhow by keypoints."""

from dataclasses import dataclass

import cv2
import numpy as np

from fastdup_ray.common.arrays import BoolArray, DoubleArray, FloatArray
from fastdup_ray.verify.detail_image import SMALL, DetailImage
from fastdup_ray.verify.filters import fit_size, resize_floats

RATIO = 0.85
"""Lowe's ratio: the best match has to be nearer than this part of the second best (D. Lowe, 2004, section 7.1)."""

FEWEST_INLIERS = 8
"""Matches that have to agree on an alignment."""

TOLERANCE = 3.0
"""Pixels by which a match may miss its place."""


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
    best, value = "", -1.0
    for name, matrix in QUARTER_TURNS.items():
        turned = lay(second.small, matrix, (SMALL, SMALL))
        correlation = float((turned * first.small).sum())
        if correlation > value + (0.01 if best == "" else 0.0):  # as it is, if in doubt
            best, value = name, correlation
    return best, value


def lay(image: FloatArray, matrix: DoubleArray, size: tuple[int, int]) -> FloatArray:
    """Resample an image into the frame of another one.

    Args:
        image: (height, width) or (height, width, channels) float32.
        matrix: See `Alignment`.
        size: Width and height of the frame.

    Returns:
        (height, width) or (height, width, channels) of the frame. Where the image has nothing, its border is repeated.
    """
    height, width = image.shape[:2]
    a = np.vstack([matrix, [0, 0, 1]])
    # Pixel centers are at half numbers: (x + 0.5) / width is from 0 to 1.
    from_pixels = np.array([[1 / width, 0, 0.5 / width], [0, 1 / height, 0.5 / height], [0, 0, 1]])
    to_pixels = np.array([[size[0], 0, -0.5], [0, size[1], -0.5], [0, 0, 1]])
    pixels = (to_pixels @ a @ from_pixels)[:2]
    scale = np.sqrt(abs(np.linalg.det(pixels[:, :2])))
    if scale < 0.7:  # average, rather than skip, the pixels that become one
        smaller = fit_size((width, height), max(2, round(max(height, width) * scale)))
        if smaller != (width, height):
            return lay(resize_floats(image, smaller), matrix, size)
    laid = cv2.warpAffine(image, pixels, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return laid.astype(np.float32)


def find_mask(matrix: DoubleArray, size: tuple[int, int]) -> BoolArray:
    """Return (height, width) bool: which pixels of a frame lie in an image that is laid on it."""
    y, x = np.mgrid[0 : size[1], 0 : size[0]]
    inverse = np.linalg.inv(np.vstack([matrix, [0, 0, 1]]))[:2]
    u, v = (x + 0.5) / size[0], (y + 0.5) / size[1]
    px = inverse[0, 0] * u + inverse[0, 1] * v + inverse[0, 2]
    py = inverse[1, 0] * u + inverse[1, 1] * v + inverse[1, 2]
    inside: BoolArray = (np.abs(px - 0.5) <= 0.5 + 1e-9) & (np.abs(py - 0.5) <= 0.5 + 1e-9)
    return inside


def align_by_keypoints(first: DetailImage, second: DetailImage) -> Alignment | None:
    """Align two images by an affine map of their keypoints; None if too few agree."""
    places, descriptors = first.keypoints
    other_places, other_descriptors = second.keypoints
    if min(len(places), len(other_places)) < FEWEST_INLIERS:
        return None
    similarity = other_descriptors @ descriptors.T
    best = similarity.argmax(axis=1)
    rows = np.arange(len(best))
    top = similarity[rows, best].copy()
    mutual = similarity.argmax(axis=0)[best] == rows
    similarity[rows, best] = -1
    second_best = similarity.max(axis=1)
    distance, next_distance = np.sqrt(np.maximum(2 - 2 * top, 0)), np.sqrt(np.maximum(2 - 2 * second_best, 0))
    good = mutual & (distance < RATIO * next_distance)
    if good.sum() < FEWEST_INLIERS:
        return None
    height, width = first.gray.shape
    other_height, other_width = second.gray.shape
    target = places[best[good]] * np.array([width, height], np.float32)
    source = other_places[good] * np.array([other_width, other_height], np.float32)
    matrix, inliers = cv2.estimateAffine2D(
        source, target, method=cv2.RANSAC, ransacReprojThreshold=TOLERANCE, maxIters=2000, confidence=0.995
    )
    if matrix is None or int(inliers.sum()) < FEWEST_INLIERS:
        return None
    stretch = np.linalg.svd(matrix[:, :2], compute_uv=False)
    if stretch[1] < 0.1 or stretch[0] > 10 or stretch[0] > 1.8 * stretch[1]:
        return None
    to_unit = np.diag([1 / width, 1 / height, 1.0])
    from_unit = np.diag([other_width, other_height, 1.0])
    unit = to_unit @ np.vstack([matrix, [0, 0, 1]]) @ from_unit
    return Alignment(unit[:2], int(inliers.sum()))


def refine(alignment: Alignment, first: DetailImage, second: DetailImage) -> Alignment:
    """Improve an alignment by the gray levels themselves; keep it if that fails.

    Source: G. Evangelidis and E. Psarakis, Parametric Image Alignment Using Enhanced Correlation Coefficient
    Maximization, 2008.
    """
    height, width = first.gray.shape
    other_height, other_width = second.gray.shape
    to_unit = np.array([[1 / width, 0, 0.5 / width], [0, 1 / height, 0.5 / height], [0, 0, 1]])
    other_to_unit = np.array(
        [[1 / other_width, 0, 0.5 / other_width], [0, 1 / other_height, 0.5 / other_height], [0, 0, 1]]
    )
    unit = np.vstack([alignment.matrix, [0, 0, 1]])
    inverse = np.linalg.inv(unit)  # ECC takes places of the first image to places of the second
    warp = (np.linalg.inv(other_to_unit) @ inverse @ to_unit)[:2].astype(np.float32)
    criteria = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 30, 1e-4)
    try:
        _, warp = cv2.findTransformECC(first.gray, second.gray, warp, cv2.MOTION_AFFINE, criteria)
    except cv2.error:
        return alignment
    refined = np.linalg.inv(other_to_unit @ np.vstack([warp.astype(float), [0, 0, 1]]) @ np.linalg.inv(to_unit))
    moved = np.abs(refined[:2] - alignment.matrix).max()
    return Alignment(refined[:2], alignment.inliers) if moved < 0.05 else alignment
