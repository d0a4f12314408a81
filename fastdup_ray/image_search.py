"""Look an image or a text up among the images of a finished run: exactly, whatever index the run has."""

import os
from functools import cached_property
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from PIL import Image

from fastdup_ray.common.access import Access
from fastdup_ray.common.arrays import FloatArray
from fastdup_ray.common.formatting import format_value
from fastdup_ray.common.locations import to_absolute
from fastdup_ray.common.paths import StrPath, to_path_text
from fastdup_ray.common.records import AnyBox, Limits
from fastdup_ray.config import RunConfig
from fastdup_ray.errors import BadImageError, ConfigError, DamagedError, FastdupError, InputError
from fastdup_ray.extract.boxes import decode_box, decode_photo
from fastdup_ray.extract.decode import decode_bytes
from fastdup_ray.extract.encode_pixels import encode_png, to_image
from fastdup_ray.extract.model import Model, make_fingerprint
from fastdup_ray.extract.open_image import explain_error
from fastdup_ray.extract.pillow_settings import strict_pillow
from fastdup_ray.extract.text_model import TextModel
from fastdup_ray.features import find_difference
from fastdup_ray.inputs import find_part, get_box, read_entry, stat
from fastdup_ray.neighbors.metrics import COSINE
from fastdup_ray.neighbors.search import SPARE, select_closest
from fastdup_ray.outputs.finished_run import RunReader
from fastdup_ray.parameter_types import parse_box
from fastdup_ray.storage.feature_rows import iter_blocks
from fastdup_ray.storage.tables import escape_names
from fastdup_ray.verify.load import Views, load_views
from fastdup_ray.verify.relate_files import relate_files

Query: TypeAlias = StrPath | bytes | Image.Image | npt.NDArray[np.uint8]
"""An image: its path or URI, which may name a box of a photo; the bytes of its file; a PIL image; or pixels as
(height, width[, 3 or 4]) uint8."""


class ImageSearch:
    """Looks images and texts up in a finished run. Keeps the model and the embeddings, mapped from their file.

    Args:
        run: A finished run.

    Raises:
        InputError: Its embeddings were not made by a run, or cannot be made again in the same way.
        DamagedError: The features file is not the one that the run wrote.
    """

    def __init__(self, run: RunReader) -> None:
        self._access = run.store.access
        theirs = run.summary.get("fingerprint")
        if theirs is None:
            raise InputError(f"Cannot search {run.store.location!r}: its embeddings were not made by a run.")
        box, max_pixels = run.config.get("bounding_box"), RunConfig.model_fields["max_pixels"].default
        self._limits = Limits(run.config.get("max_pixels", max_pixels), box=parse_box(box) if box else None)
        self._model_path = run.config.get("model_path")
        self._model = Model(self._model_path)
        ours = make_fingerprint(self._model.sha256, self._limits.box)
        if name := find_difference(ours, theirs):
            raise InputError(
                f"Cannot search {run.store.location!r}: its embeddings were made with another {name.replace('_', ' ')} "
                f"({theirs.get(name)}) than today's ({ours.get(name)}); run again first."
            )
        self._features = run.map_features()
        self._names = run.map_names()
        if len(self._names) != len(self._features):
            raise DamagedError(f"The files of {run.store.location!r} are of different runs. Run again.")

    def search(self, image: Query, k: int = 10, *, verify: bool = False) -> pa.Table:
        """Find the images that are most similar to one.

        Args:
            image: See `Query`.
            k: Number of images; of a smaller run, all are returned.
            verify: Also compare each of them with the image in full detail.

        Returns:
            filename and similarity, the most similar first; with `verify` also relation, null for files that cannot be
            read any more.

        Raises:
            InputError: The image cannot be read.
            ConfigError: `k` is no whole number of at least 1.
        """
        count = _check_count(k)
        query = read_image(image, self._access)
        names, similarity = self._find_closest(self._embed(query), count)
        table = _make_table(names, similarity)
        if verify:
            relations = self._relate(query, [os.fsdecode(other) for other in names.to_pylist()])
            table = table.append_column("relation", pa.array(relations, pa.large_string()))
        return table

    def search_text(self, text: str, k: int = 10) -> pa.Table:
        """Find the images that a text describes best, by the text tower of the run's model.

        Args:
            text: A few words.
            k: Number of images; of a smaller run, all are returned.

        Returns:
            filename and similarity, the most similar first.

        Raises:
            InputError: The model has no text tower.
            ConfigError: `k` is no whole number of at least 1, or see `TextModel`.
        """
        count = _check_count(k)
        return _make_table(*self._find_closest(self._text_model.embed(text), count))

    @cached_property
    def _text_model(self) -> TextModel:
        return TextModel(self._model_path, self._model.sha256, self._model.dimensions)

    def _embed(self, query: "ReadImage") -> FloatArray:
        """Return the (1, d) embedding of an image."""
        name, size, fit = query.name, self._model.size, self._model.fit
        try:
            with strict_pillow(self._limits.max_pixels):
                if query.box is None:
                    decoded = decode_bytes(query.data, size, self._limits, fit)
                else:
                    decoded = decode_box(decode_photo(query.data, self._limits), query.box, size, self._limits, fit)
        except BadImageError as error:
            raise InputError(f"Cannot read {name}: {error.message} ({error.code}).") from None
        embedding = self._model.embed(decoded.pixels[None])
        if not np.isfinite(embedding).all():
            raise InputError(f"Cannot search for {name}: the model has no embedding of it.")
        return embedding

    def _find_closest(self, query: FloatArray, k: int) -> tuple[pa.Array, npt.NDArray[np.float64]]:
        """Return the names of the images with the k closest embeddings, and their similarities."""
        scores = np.concatenate([np.empty(0, np.float32), *(block @ query[0] for block in iter_blocks(self._features))])
        count = min(k + SPARE, len(scores))
        candidates = np.argpartition(-scores, count - 1)[None, :count]
        similarity, rows = select_closest(query, self._features, candidates, COSINE, k)
        return self._names.take(pa.array(rows[0])), similarity[0]

    def _relate(self, query: "ReadImage", others: list[str]) -> list[str | None]:
        """Return the relation of an image with others; None for those that cannot be read."""
        with strict_pillow(self._limits.max_pixels):
            own = _load(query)
            views = (self._load_stored(other) for other in others)
            return [None if other is None else relate_files(own, other).relation.value for other in views]

    def _load_stored(self, name: str) -> Views | None:
        try:
            return _load(read_image(name, self._access))
        except FastdupError:
            return None


def _check_count(k: int) -> int:
    if isinstance(k, bool) or not isinstance(k, (int, np.integer)) or k < 1:
        raise ConfigError(f"Invalid value for k: {format_value(k)} (must be a whole number of at least 1).")
    return int(k)


def _make_table(names: pa.Array, similarity: npt.NDArray[np.float64]) -> pa.Table:
    return pa.table({"filename": escape_names(names), "similarity": similarity})


class ReadImage(NamedTuple):
    """An image that was read.

    Attributes:
        name: What messages call it.
        data: The bytes of its file or, if it has none, of a PNG of it.
        box: The part of the file that it is; None: all of it.
    """

    name: str
    data: bytes
    box: AnyBox | None = None


def read_image(image: Query, access: Access) -> ReadImage:
    """Read an image.

    Raises:
        InputError: It cannot be read.
        ConfigError: It is no image.
    """
    if isinstance(image, bytes):
        return ReadImage("these bytes", image)
    if isinstance(image, np.ndarray):
        try:
            return ReadImage("this array", _encode(to_image(image)))
        except ValueError as error:
            raise ConfigError(f"Invalid value for image: {error}.") from None
    if isinstance(image, Image.Image):
        return ReadImage("this image", _encode(image))
    try:
        uri = to_absolute(to_path_text(image))
    except ValueError as error:
        raise ConfigError(f"Invalid value for image: {format_value(image)} ({error}).") from None
    if find_part(uri, access).milliseconds is not None:
        raise InputError(f"Cannot read {uri!r}: it is a frame of a video; save it as an image.")
    try:
        return ReadImage(repr(uri), read_entry(stat(uri, access), access), get_box(uri))
    except BadImageError as error:
        raise InputError(f"Cannot read {uri!r}: {error.message}.") from None


def _encode(image: Image.Image) -> bytes:
    try:
        return encode_png(image)
    except Exception as error:  # plugins raise anything at all on broken files
        raise InputError(f"Cannot read this image: {str(error) or type(error).__name__}.") from None


def _load(image: ReadImage) -> Views:
    try:
        return load_views(image.data, image.box)
    except Exception as error:  # plugins raise anything at all on broken files
        reason = error if isinstance(error, BadImageError) else explain_error(error, image.data)
        raise InputError(f"Cannot read {image.name}: {reason.message}.") from None
