"""From the bytes of a file to everything that is compared of it."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from PIL import Image

from fastdup_ray.common.records import AnyBox, Unseen
from fastdup_ray.extract.boxes import BESIDE_BOX, crop
from fastdup_ray.extract.decode import get_orientation, to_color, turn_upright
from fastdup_ray.extract.open_image import DRAFTED, open_image
from fastdup_ray.extract.transparency import BLACK, WHITE, flatten_alpha
from fastdup_ray.verify.detail_image import DETAIL, DetailImage, Storage
from fastdup_ray.verify.filters import fit_size, resize_bytes

MAX_PAGES = 16
"""Pages or frames of a file that are compared. Of two files with more, nothing is said."""

EXACT_FORMATS = frozenset(["PNG", "BMP", "TGA"])
"""Formats that store pixels as they are. TIFF may have a JPEG inside."""

NOT_SHOWN = frozenset([Unseen.VIDEO, Unseen.CHANNELS, Unseen.VALUES])
"""Contents that no decoded page shows."""


@dataclass(frozen=True)
class Views:
    """What is compared of a file.

    Attributes:
        pages: One for each page or frame; two, on white and on black, where parts are transparent.
        complete: Whether they show everything that the file holds.
        size: Width and height of the first page in pixels, upright.
    """

    pages: tuple[DetailImage, ...]
    complete: bool
    size: tuple[int, int]


def load_views(data: bytes, box: AnyBox | None = None) -> Views:
    """Decode a file, or a box of it. Call it inside `strict_pillow`.

    Args:
        data: The bytes of the file.
        box: The part to use, of the upright image; None: all of it.

    Raises:
        BadImageError: The image has no pixels in the box.
        Exception: Whatever Pillow raises on a broken file.
    """
    with open_image(data) as image:
        if image.format in DRAFTED and box is None:
            image.draft(None, (DETAIL, DETAIL))
        image.load()
        storage = _find_storage(image)
        color, unseen = to_color(image, data)
        unseen = unseen if box is None else unseen - BESIDE_BOX
        first = crop(turn_upright(color, get_orientation(image)), box)
        pages = list(_iter_grounds(first, storage))
        complete = not unseen & NOT_SHOWN
        if Unseen.FRAMES in unseen:
            others = _load_pages(image, storage)
            complete = complete and others is not None
            pages += others or []
        return Views(tuple(pages), complete, first.size)


def _find_storage(image: Image.Image) -> Storage:
    if image.format == "GIF" or (image.format in EXACT_FORMATS and image.mode == "P"):
        return Storage.PALETTE
    return Storage.EXACT if image.format in EXACT_FORMATS else Storage.LOSSY


def _iter_grounds(color: Image.Image, storage: Storage) -> Iterator[DetailImage]:
    size, is_cut_out = fit_size(color.size, DETAIL), color.mode == "RGBa"
    for level in (WHITE, BLACK) if is_cut_out else (None,):
        pixels = resize_bytes(np.asarray(flatten_alpha(color, level)), size)
        yield DetailImage(pixels, is_cut_out=is_cut_out, storage=storage)


def _load_pages(image: Image.Image, storage: Storage) -> list[DetailImage] | None:
    """Return the pages after the first; None if not all can be compared."""
    count = getattr(image, "n_frames", 1)
    if not 1 < count <= MAX_PAGES:
        return None
    pages: list[DetailImage] = []
    try:
        for number in range(1, count):
            image.seek(number)
            image.load()
            pages += _iter_grounds(to_color(image.copy())[0], storage)
    except Exception:  # plugins raise anything at all on broken files
        return None
    return pages
