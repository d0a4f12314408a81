"""Decode boxes of photos: the photo once, and each box from its pixels.

The photo is decoded at full size, whatever its boxes are, so that a box has the same pixels whichever others are read
with it.
"""

import hashlib
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from PIL import Image

from fastdup_ray.common.records import AnyBox, ImageRef, Limits, Unseen
from fastdup_ray.errors import BadImageError
from fastdup_ray.extract.date_taken import read_date_taken
from fastdup_ray.extract.decode import DecodedImage, decode_file, get_orientation, load_color, turn_upright
from fastdup_ray.extract.decoder_versions import get_decoder
from fastdup_ray.extract.resize import SQUASH, Fit, crop_box, resize
from fastdup_ray.extract.size_limits import check_size
from fastdup_ray.extract.statistics import compute_statistics
from fastdup_ray.inputs import find_box

BESIDE_BOX = frozenset([Unseen.FRAMES, Unseen.VIDEO])
"""What a file may hold that is no part of a box: a box is of the first image."""


@dataclass(frozen=True, slots=True)
class Photo:
    """A decoded file.

    Attributes:
        color: The upright image at full size, as `decode.to_color` returns it.
        format: Pillow's name of the format.
        unseen: What the file holds and `color` does not show.
        decoder: See `DecodedImage`.
        taken: See `DecodedImage`.
    """

    color: Image.Image
    format: str
    unseen: frozenset[Unseen]
    decoder: str | None
    taken: str | None


def decode_photo(data: bytes, limits: Limits, *, concurrent: bool = False) -> Photo:
    """Decode a file at full size. Call it inside `strict_pillow`.

    Args:
        data: The bytes of the file.
        limits: What is too large or too small.
        concurrent: As of `decode_bytes`.

    Raises:
        BadImageError: The file cannot be decoded to its end, or the limits exclude it.
    """

    def decode(image: Image.Image, is_concurrent: bool) -> Photo:  # noqa: FBT001 (as decode_file calls it)
        check_size(image.size, limits)
        image_format = image.format or "UNKNOWN"
        color, unseen = load_color(image, data, concurrent=is_concurrent)
        color = turn_upright(color, get_orientation(image))
        return Photo(color, image_format, unseen, get_decoder(image_format), read_date_taken(image))

    return decode_file(data, limits, decode, concurrent=concurrent)


def decode_box(photo: Photo, box: AnyBox, size: tuple[int, int], limits: Limits, fit: Fit = SQUASH) -> DecodedImage:
    """Return a box of a photo as `decode_bytes` returns an image; width and height are those of the box.

    Args:
        photo: The photo.
        box: The box, of the upright photo; it is clipped to it.
        size: Width and height of the pixels that are returned.
        limits: What is too small.
        fit: How the box is fitted to `size`.

    Raises:
        BadImageError: The box misses the photo, or is too small.
    """
    image = crop(photo.color, box)
    check_size(image.size, limits)
    small, lost = resize(image, size, fit=fit)
    pixels, statistics, unseen = np.asarray(small), compute_statistics(small), photo.unseen - BESIDE_BOX | lost
    return DecodedImage(pixels, *image.size, photo.format, statistics, unseen, decoder=photo.decoder, taken=photo.taken)


class PhotoCache:
    """The photo that was decoded last: the boxes of a photo follow one another.

    Args:
        limits: What is too large or too small.
        concurrent: As of `decode_bytes`.
    """

    def __init__(self, limits: Limits, *, concurrent: bool = False) -> None:
        self._limits, self._concurrent = limits, concurrent
        self._key: object = None
        self._photo: Photo | BadImageError | None = None
        self._sha256: str | None = None

    def load(self, key: object, read: Callable[[], bytes]) -> str | None:
        """Read and decode a photo, unless it is the last one.

        Args:
            key: Identifies the file.
            read: Returns its bytes, or raises `BadImageError`.

        Returns:
            The sha256 of the file, in hex; None if it cannot be read.
        """
        if key != self._key:
            self._key = self._photo = self._sha256 = None
            try:
                data = read()
                self._sha256 = hashlib.sha256(data).hexdigest()
                self._photo = decode_photo(data, self._limits, concurrent=self._concurrent)
            except BadImageError as error:
                self._photo = error
            self._key = key
        return self._sha256

    @property
    def photo(self) -> Photo:
        """The photo that was loaded; raises `BadImageError` if it is bad."""
        if isinstance(self._photo, BadImageError):
            raise self._photo
        assert self._photo is not None
        return self._photo


def find_next_boxes(refs: Sequence[ImageRef]) -> set[ImageRef]:
    """Return the boxes whose photo is that of the entry before, so that it is not read again."""
    return {
        ref
        for before, ref in pairwise(refs)
        if (part := find_box(ref.uri)) and (last := find_box(before.uri)) and part.file == last.file
    }


def add_boxes(some: Collection[ImageRef], refs: Sequence[ImageRef]) -> set[ImageRef]:
    """Return some entries, and those of `refs` that are boxes of the same photos."""
    photos = {part.file for ref in some if (part := find_box(ref.uri))}
    return {*some, *(ref for ref in refs if photos and (part := find_box(ref.uri)) and part.file in photos)}


def crop(image: Image.Image, box: AnyBox | None) -> Image.Image:
    """Return the part of an upright image at full size in a box; the image itself without one.

    Raises:
        BadImageError: See `crop_box`.
    """
    return image if box is None else image.crop(crop_box(box.resolve(image.size), image.size))
