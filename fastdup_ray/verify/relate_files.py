"""Say what the relation of two files is, page by page."""

import logging
from dataclasses import replace

import cv2
import numpy as np

from fastdup_ray.common.relations import Loss, Relation
from fastdup_ray.verify.detail_image import DetailImage
from fastdup_ray.verify.filters import resize_bytes
from fastdup_ray.verify.load import Views
from fastdup_ray.verify.losses import SIDE, find_losses
from fastdup_ray.verify.overlay import QUARTER_TURNS
from fastdup_ray.verify.relate import Verdict, choose_size, relate_images

log = logging.getLogger(__name__)

SMALLER = 4
"""An image has lost nothing beside another one with so many times fewer pixels."""


def relate_files(first: Views, second: Views) -> Verdict:
    """Return the relation of two files, page by page.

    Two files are `SAME` only if each page of one is the same as that of the other, transparent parts on white and on
    black, and if the pages are all that they hold. They are `UNSURE` if OpenCV cannot compare them.
    """
    try:
        return _relate_pages(first, second)
    except cv2.error as error:  # one pair never stops a run
        log.warning(
            "Two images of %d x %d and %d x %d pixels cannot be compared: %s", *first.size, *second.size, error.err
        )
        return Verdict(Relation.UNSURE)


def _relate_pages(first: Views, second: Views) -> Verdict:
    verdict = relate_images(first.pages[0], second.pages[0])
    if verdict.relation is not Relation.SAME:
        return verdict
    if not (first.complete and second.complete):
        return replace(verdict, relation=Relation.UNSURE)
    if len(first.pages) != len(second.pages):
        return replace(verdict, relation=Relation.ALTERED)
    for pair in zip(first.pages[1:], second.pages[1:], strict=True):
        other = relate_images(*pair)
        if other.relation is not Relation.SAME:
            return replace(other, relation=Relation.UNSURE if other.relation is Relation.UNSURE else Relation.ALTERED)
    lost_from, lost_to = _find_losses(first.pages[0], second.pages[0])
    return replace(verdict, lost_from=lost_from, lost_to=lost_to)


def _find_losses(first: DetailImage, second: DetailImage) -> tuple[Loss | None, Loss | None]:
    if np.array_equal(first.pixels, second.pixels):
        return None, None
    size = choose_size(first, second, QUARTER_TURNS[""], SIDE)
    lost_from, lost_to = find_losses(*(resize_bytes(image.pixels, size) for image in (first, second)))
    pixels, other = first.pixels.size, second.pixels.size
    return lost_from if pixels <= SMALLER * other else None, lost_to if other <= SMALLER * pixels else None
