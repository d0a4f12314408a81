"""Thumbnails for pages, as data URIs."""

import base64
import hashlib
import io
import os
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from os import fsdecode
from typing import BinaryIO, Self

import pyarrow as pa
from PIL import Image, ImageOps

from fastdup_ray.common.access import DEFAULT_ACCESS, Access
from fastdup_ray.common.records import AnyBox, ImageRef, Limits
from fastdup_ray.config import RunConfig
from fastdup_ray.errors import BadImageError
from fastdup_ray.extract.boxes import crop
from fastdup_ray.extract.decode import get_upright_size, to_color
from fastdup_ray.extract.open_image import open_image
from fastdup_ray.extract.pillow_settings import strict_pillow
from fastdup_ray.extract.transparency import flatten_alpha
from fastdup_ray.extract.video import read_frame
from fastdup_ray.inputs import find_part, open_entry
from fastdup_ray.inputs.video import HEAD, is_video

MAX_SIDE = 320
"""Pixels of the longer side of a thumbnail in a gallery, or in a notebook."""

REPORT_SIDES = {480: 24_500, 400: 20_300, 320: 15_600, 256: 11_300, 200: 7_900, 160: 5_700, 144: 4_900}
"""The same for a report -> characters of such a thumbnail in base64 (mean of 90 photographs, and 8 % more)."""

QUALITY = 70
"""Quality of thumbnails, which are JPEGs. A WebP that looks as good takes two thirds of the bytes, but ten times as
long to encode: more than all else that a thumbnail of a small image takes."""

THREADS = 4
"""Threads of a `ThumbnailLoader`."""

MAX_PIXELS: int = RunConfig.model_fields["max_pixels"].default
"""Pixels of the largest image that is decoded."""


def choose_side(count: int, room: int) -> int:
    """Return the side of the thumbnails of a report: the largest with which `count` of them have `room` characters."""
    return next((side for side, size in REPORT_SIDES.items() if size * count <= room), min(REPORT_SIDES))


@dataclass(frozen=True, slots=True)
class FileFacts:
    """Facts of an image file that a page shows.

    Attributes:
        size: Bytes.
        sha256: Digest of the bytes; None for frames of a video.
        width: Pixels of the upright image; None if it could not be decoded.
        height: Pixels of the upright image; None if it could not be decoded.
        format: Pillow's name of the format, or the codec of a video; None if it could not be decoded.
    """

    size: int
    sha256: str | None
    width: int | None
    height: int | None
    format: str | None


@dataclass(frozen=True, slots=True)
class Thumbnail:
    """A thumbnail, or the reason why there is none.

    Attributes:
        data_uri: The thumbnail; "" if there is none.
        width: Pixels of the thumbnail.
        height: Pixels of the thumbnail.
        problem: Why there is no thumbnail; "" if there is one.
        facts: Facts of the file as it is now; None if it cannot be read.
        was_read: Whether the file could be read; if not, another attempt may succeed.
    """

    data_uri: str
    width: int = 0
    height: int = 0
    problem: str = ""
    facts: FileFacts | None = None
    was_read: bool = True


NO_THUMBNAIL = Thumbnail("", problem="left out of this page")
CHANGED = Thumbnail("", problem="changed since the run")


@dataclass(frozen=True, slots=True)
class PageImage:
    """An image as a page shows it.

    Attributes:
        name: Path or URI; bytes that are not UTF-8 as surrogates.
        thumbnail: Its thumbnail, or the reason why there is none.
        facts: What is known of its file; None if nothing is.
    """

    name: str
    thumbnail: Thumbnail
    facts: FileFacts | None

    def is_copy_of(self, other: "PageImage") -> bool:
        """Return whether both files are known to have the same bytes."""
        return bool(self.facts and other.facts and self.facts.sha256 and self.facts.sha256 == other.facts.sha256)


def make_thumbnail(
    uri: str, max_pixels: int = MAX_PIXELS, side: int = MAX_SIDE, access: Access = DEFAULT_ACCESS
) -> Thumbnail:
    """Make an upright, opaque thumbnail of an image or a frame of a video. Call it inside `strict_pillow`.

    Args:
        uri: Path or URI of the image.
        max_pixels: Pixels of the largest image that is decoded.
        side: Largest width and height of the thumbnail.
        access: How buckets are accessed.

    Returns:
        The thumbnail. An error of any kind becomes its `problem`.
    """
    try:
        with open_entry(ImageRef(uri, 0, ""), access) as file:
            try:
                return make_thumbnail_of_file(file, uri, max_pixels, side, access)
            except BadImageError as error:  # a frame that the video has no more
                return Thumbnail("", problem=error.message)
    except BadImageError as error:
        return Thumbnail("", problem=error.message, was_read=False)
    except Exception as error:  # whatever it is, a page is useful without this image
        return Thumbnail("", problem=_explain(error), was_read=False)


def make_thumbnail_of_file(
    file: BinaryIO, uri: str, max_pixels: int, side: int, access: Access = DEFAULT_ACCESS
) -> Thumbnail:
    """Make a thumbnail of an open file. Call it inside `strict_pillow`.

    Args:
        file: The file, at its beginning.
        uri: Its path or URI, which may name a frame of a video, or a box of a photo.
        max_pixels: Pixels of the largest image that is decoded.
        side: Largest width and height of the thumbnail.
        access: How buckets are accessed.

    Returns:
        The thumbnail. An image that cannot be decoded has a `problem`.

    Raises:
        BadImageError: The frame of a video cannot be decoded.
        Exception: Whatever reading the file raises.
    """
    part = find_part(uri, access)
    if part.milliseconds is not None:
        return _make_frame_thumbnail(file, part.file, part.milliseconds, max_pixels, side)
    data = file.read()
    digest = part.hash(hashlib.sha256(data).hexdigest())
    try:
        return _shrink(data, digest, max_pixels, side, part.box)
    except Exception as error:  # plugins raise anything at all on broken files
        return Thumbnail("", problem=_explain(error), facts=FileFacts(len(data), digest, None, None, None))


def _make_frame_thumbnail(file: BinaryIO, video: str, milliseconds: int, max_pixels: int, side: int) -> Thumbnail:
    """Make a thumbnail of one frame of a video, without a digest, for which the whole video would have to be read."""
    if not is_video(video, file.read(HEAD)):
        return Thumbnail("", problem="the file does not exist")
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    codec, image = read_frame(file, milliseconds, Limits(max_pixels))
    return _encode(image, FileFacts(size, None, image.width, image.height, codec), side)


def _explain(error: Exception) -> str:
    return f"it cannot be decoded ({type(error).__name__})"


def _shrink(data: bytes, digest: str, max_pixels: int, side: int, box: AnyBox | None) -> Thumbnail:
    with open_image(data) as image:
        width, height = get_upright_size(image)
        facts = FileFacts(len(data), digest, width, height, image.format)
        if width * height > max_pixels:
            return Thumbnail("", problem=f"more than {max_pixels:,} pixels", facts=facts)
        if box is None:
            image.draft(None, (side, side))  # decodes large JPEGs at 1/2, 1/4 or 1/8 of their size
        ImageOps.exif_transpose(image, in_place=True)  # otherwise it copies upright images too
        color = crop(to_color(image, data)[0], box)
        return _encode(color, facts if box is None else replace(facts, width=color.width, height=color.height), side)


def _encode(small: Image.Image, facts: FileFacts, side: int) -> Thumbnail:
    small.thumbnail((side, side), Image.Resampling.HAMMING)  # as sharp as bicubic, at half the cost
    file = io.BytesIO()
    flatten_alpha(small).save(file, "JPEG", quality=QUALITY)
    data = base64.b64encode(file.getvalue()).decode()
    return Thumbnail(f"data:image/jpeg;base64,{data}", small.width, small.height, facts=facts)


class ThumbnailLoader:
    """Thumbnails by the index of the image. Each is made once, on threads that work ahead of the reader.

    Use it as a context manager, in which `loader[index]` waits for one image.

    Args:
        names: (n,) paths or URIs as raw bytes.
        images: The table of images.parquet. Its facts are preferred to those of the files as they are now, and a file
            with another digest has the thumbnail `CHANGED`. None: facts are read from the files.
        max_pixels: Pixels of the largest image that is decoded.
        side: Largest width and height of a thumbnail; 0 for no thumbnails.
    """

    def __init__(
        self,
        names: pa.Array,
        images: pa.Table | None = None,
        max_pixels: int = MAX_PIXELS,
        side: int = MAX_SIDE,
        access: Access = DEFAULT_ACCESS,
    ) -> None:
        self._names, self._images, self._max_pixels, self._side = names, images, max_pixels, side
        self._access = access
        self._thumbnails: dict[int, Future[Thumbnail]] = {}
        self._resources = ExitStack()
        self._pool = ThreadPoolExecutor(THREADS)

    def __enter__(self) -> Self:
        self._resources.enter_context(strict_pillow(self._max_pixels))
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)
        self._resources.close()

    def request(self, indices: Iterable[int]) -> None:
        """Start making the thumbnails of images, in the order of `indices`."""
        for index in indices:
            if index not in self._thumbnails:
                self._thumbnails[index] = self._pool.submit(self._make, self._get_name(index))

    def _make(self, name: str) -> Thumbnail:
        return make_thumbnail(name, self._max_pixels, self._side, self._access) if self._side else NO_THUMBNAIL

    def __getitem__(self, index: int) -> PageImage:
        self.request([index])
        thumbnail, recorded = self._thumbnails[index].result(), self._get_facts(index)
        if recorded and recorded.sha256 and thumbnail.facts and thumbnail.facts.sha256 not in (None, recorded.sha256):
            thumbnail = CHANGED
        return PageImage(self._get_name(index), thumbnail, recorded or thumbnail.facts)

    def _get_name(self, index: int) -> str:
        return fsdecode(self._names[index].as_py())

    def _get_facts(self, index: int) -> FileFacts | None:
        if self._images is None or index >= self._images.num_rows:
            return None
        row = self._images.slice(index, 1).select(FileFacts.__slots__).to_pylist()[0]
        return FileFacts(**row) if row["size"] is not None else None  # null for features that no run has extracted
