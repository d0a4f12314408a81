"""What is around an image that is a part of another one: bars, a page, or more of the same image."""

from fastdup_ray.common.arrays import BoolArray, ByteArray, DoubleArray
from fastdup_ray.common.relations import Relation
from fastdup_ray.verify.detail_image import DetailImage
from fastdup_ray.verify.filters import grow, measure_edges, shrink
from fastdup_ray.verify.overlay import find_mask

UNIFORM = 6.0
"""Standard deviation of the gray levels of a bar."""

FRAME, FRAME_LEVELS = 1.6, 4.0
"""How much stronger edges are at the border of an image that was put into another one: factor, and gray levels."""


def classify_surroundings(outer: DetailImage, matrix: DoubleArray) -> Relation:
    """Return what an image is that shows another one and more: padded, embedding it, or what it was cropped from."""
    gray = outer.gray
    inside = find_mask(matrix, (gray.shape[1], gray.shape[0]))
    around = ~grow(inside, 2)
    if around.any() and gray[around].std() < UNIFORM:
        return Relation.PADDED
    return Relation.EMBEDDED if _has_frame(gray, inside) else Relation.CROPPED


def _has_frame(gray: ByteArray, inside: BoolArray) -> bool:
    """Return whether the content ends at the border of a part, rather than continues beyond it."""
    ring = grow(inside, 2) & ~shrink(inside, 2)
    near = grow(inside, 8) & ~shrink(inside, 8) & ~ring
    edges = measure_edges(gray)
    return bool(ring.any() and near.any() and edges[ring].mean() > FRAME * edges[near].mean() + FRAME_LEVELS)
