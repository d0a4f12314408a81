"""A picture small enough for a page, as a data URI."""

import base64
import hashlib
import io
import os
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from os import fsdecode
from typing import BinaryIO, Self

import pyarrow as pa
from PIL import ExifTags, Image, ImageOps, features

from fastdup_ray.common.records import ImageRef, Limits
from fastdup_ray.config import RunConfig
from fastdup_ray.errors import BadImageError
from fastdup_ray.extract.decode import flatten_alpha, strict_pillow, to_color
from fastdup_ray.extract.open_image import open_image
from fastdup_ray.extract.video import read_frame
from fastdup_ray.inputs import find_frame, open_entry
from fastdup_ray.inputs.video import HEAD, is_video
from fastdup_ray.s3 import DEFAULT_ACCESS, Access

MAX_SIDE = 320
FORMAT, OPTIONS = ("WEBP", {"quality": 70, "method": 2}) if features.check("webp") else ("JPEG", {"quality": 78})
"""WebP takes 60 % of the bytes of a JPEG that looks as good (7.6 against 12.8 kB at 320 pixels), and 2 ms."""

THREADS = 4
MAX_PIXELS: int = RunConfig.model_fields["max_pixels"].default


@dataclass(frozen=True, slots=True)
class Facts:
    """What is told of a file. size: bytes. width, height: pixels, upright; None where it could not be decoded."""

    size: int
    sha256: str | None
    width: int | None
    height: int | None
    format: str | None


@dataclass(frozen=True, slots=True)
class Thumbnail:
    """data_uri: a picture of width by height pixels, or "" and the problem that left a placeholder.

    facts: of the file as it is now; None where it cannot be read.
    """

    data_uri: str
    width: int = 0
    height: int = 0
    problem: str = ""
    facts: Facts | None = None


NO_THUMBNAIL = Thumbnail("", problem="left out of this page")
CHANGED = Thumbnail("", problem="changed since the run")


@dataclass(frozen=True, slots=True)
class PageImage:
    """One picture of a page. name: path or URI, bytes that are not UTF-8 as surrogates."""

    name: str
    thumbnail: Thumbnail
    facts: Facts | None

    def is_copy_of(self, other: "PageImage") -> bool:
        """Whether both files have the same bytes."""
        return bool(self.facts and other.facts and self.facts.sha256 and self.facts.sha256 == other.facts.sha256)


def make_thumbnail(
    uri: str, max_pixels: int = MAX_PIXELS, side: int = MAX_SIDE, access: Access = DEFAULT_ACCESS
) -> Thumbnail:
    """Make a thumbnail: upright, opaque, at most `side` pixels a side; never raises.

    To be called inside `careful_pillow`.
    """
    try:
        with open_entry(ImageRef(uri, 0, ""), access) as file:
            return make_thumbnail_of_file(file, uri, max_pixels, side, access)
    except BadImageError as error:
        return Thumbnail("", problem=error.message)
    except Exception as error:  # a page is worth having without this picture, whatever ails it
        return Thumbnail("", problem=_explain(error))


def make_thumbnail_of_file(
    file: BinaryIO, uri: str, max_pixels: int, side: int, access: Access = DEFAULT_ACCESS
) -> Thumbnail:
    """Make the same of an open file; raises what reading it may raise, and what decoding a video may."""
    video, milliseconds = find_frame(uri, access)
    if milliseconds is not None:
        return _make_frame_thumbnail(file, video, milliseconds, max_pixels, side)
    data = file.read()
    digest = hashlib.sha256(data).hexdigest()
    try:
        return _shrink(data, digest, max_pixels, side)
    except Exception as error:  # plugins raise anything at all on broken files
        return Thumbnail("", problem=_explain(error), facts=Facts(len(data), digest, None, None, None))


def _make_frame_thumbnail(file: BinaryIO, video: str, milliseconds: int, max_pixels: int, side: int) -> Thumbnail:
    """Of one frame of a video. Its digest would take reading the whole of it: it is left out."""
    if not is_video(video, file.read(HEAD)):
        return Thumbnail("", problem="the file does not exist")
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    codec, image = read_frame(file, milliseconds, Limits(max_pixels))
    return _encode(image, Facts(size, None, image.width, image.height, codec), side)


def _explain(error: Exception) -> str:
    return f"it cannot be decoded ({type(error).__name__})"


def _shrink(data: bytes, digest: str, max_pixels: int, side: int) -> Thumbnail:
    with open_image(data) as image:
        width, height = image.size
        if image.getexif().get(ExifTags.Base.Orientation, 1) in (5, 6, 7, 8):  # turned by a quarter
            width, height = height, width
        facts = Facts(len(data), digest, width, height, image.format)
        if width * height > max_pixels:
            return Thumbnail("", problem=f"more than {max_pixels:,} pixels", facts=facts)
        image.draft(None, (side, side))  # decodes large JPEGs at 1/2, 1/4 or 1/8
        ImageOps.exif_transpose(image, in_place=True)  # else it makes a copy of what stands upright
        return _encode(to_color(image, data)[0], facts, side)


def _encode(small: Image.Image, facts: Facts, side: int) -> Thumbnail:
    small.thumbnail((side, side), Image.Resampling.HAMMING)  # as sharp as bicubic, at half the cost
    file = io.BytesIO()
    flatten_alpha(small).save(file, FORMAT, **OPTIONS)
    data = base64.b64encode(file.getvalue()).decode()
    return Thumbnail(f"data:image/{FORMAT.lower()};base64,{data}", small.width, small.height, facts=facts)


class ThumbnailLoader:
    """Pictures by their index, each decoded once, by threads that run ahead of the reader.

    names: (n,) raw bytes. images: the table of images.parquet, whose facts then go before those of the files as they
    are now, and a file with another digest is not shown; without it a file has to be there to be told of.
    """

    def __init__(
        self,
        names: pa.Array,
        images: pa.Table | None = None,
        max_pixels: int = MAX_PIXELS,
        side: int = MAX_SIDE,
        access: Access = DEFAULT_ACCESS,
    ):
        self._names, self._images, self._max_pixels, self._side = names, images, max_pixels, side
        self._access = access
        self._thumbnails: dict[int, Future[Thumbnail]] = {}
        self._resources = ExitStack()
        self._pool = ThreadPoolExecutor(THREADS)

    def __enter__(self) -> Self:
        self._resources.enter_context(strict_pillow(self._max_pixels))
        return self

    def __exit__(self, *_) -> None:
        self._pool.shutdown(cancel_futures=True)
        self._resources.close()

    def request(self, indices: Iterable[int]) -> None:
        """Has the thumbnails of `indices` made, in this order."""
        for index in indices:
            if index not in self._thumbnails:
                self._thumbnails[index] = self._pool.submit(self._make, self._get_name(index))

    def _make(self, name: str) -> Thumbnail:
        return make_thumbnail(name, self._max_pixels, self._side, self._access) if self._side else NO_THUMBNAIL

    def __getitem__(self, index: int) -> PageImage:
        self.request([index])
        thumbnail, known = self._thumbnails[index].result(), self._get_facts(index)
        if known and known.sha256 and thumbnail.facts and thumbnail.facts.sha256 not in (None, known.sha256):
            thumbnail = CHANGED
        return PageImage(self._get_name(index), thumbnail, known or thumbnail.facts)

    def _get_name(self, index: int) -> str:
        return fsdecode(self._names[index].as_py())

    def _get_facts(self, index: int) -> Facts | None:
        if self._images is None or index >= self._images.num_rows:
            return None
        row = self._images.slice(index, 1).select(Facts.__slots__).to_pylist()[0]
        return Facts(**row) if row["size"] is not None else None  # features of one's own come without
