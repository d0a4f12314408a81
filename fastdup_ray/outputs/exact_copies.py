"""exact_copies.csv: images that equal another one, byte for byte or pixel for pixel."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from os import fsdecode
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from fastdup_ray.analysis.pairs import select_similar
from fastdup_ray.common import csv_columns, layout
from fastdup_ray.common.arrays import BoolArray, IntArray
from fastdup_ray.common.facts import Counts
from fastdup_ray.common.layout import FileSet
from fastdup_ray.common.mapped_arrays import make_array, write_and_map_columns
from fastdup_ray.common.records import ImageRef, Neighbors
from fastdup_ray.common.scratch import Scratch
from fastdup_ray.extract.pillow_settings import strict_pillow
from fastdup_ray.extract.pixels import hash_pixels
from fastdup_ray.features import find_images
from fastdup_ray.inputs import ReadEntry, get_box
from fastdup_ray.outputs.images import Images
from fastdup_ray.storage import Store
from fastdup_ray.storage.csv_files import iter_csv, open_csv
from fastdup_ray.storage.tables import ROWS_PER_BLOCK, take_rows

ShortArray: TypeAlias = npt.NDArray[np.int16]

BYTES, PIXELS = "bytes", "pixels"
"""Kinds of exact duplicates."""

NEAR = 0.9
"""Cosine above which the pixels of two neighbors are compared. It leaves room below 1, since the model sees a JPEG
decoded at a lower size than a PNG of the same pixels: of 87 such pairs the smallest cosine was 0.960."""

NEAR_IN_ONE_FORMAT = 0.999
"""The same for two images of one format, which one decoder read: equal pixels give equal embeddings."""

LARGE = 32_000_000
"""Pixels above which only one image at a time is decoded, so that memory does not grow with the threads."""


@dataclass(frozen=True)
class ExactCopies:
    """m exact duplicates. Of images with the same content, all but one are duplicates. The arrays may be mapped.

    Attributes:
        copy: (m,) index of the duplicate.
        of: (m,) index of the image that it equals: the first with the same bytes, else the first with the same pixels.
        same_bytes: (m,) whether the bytes are equal, too.
    """

    copy: IntArray
    of: IntArray
    same_bytes: BoolArray

    def __len__(self) -> int:
        return len(self.copy)

    @property
    def counts(self) -> Counts:
        """The numbers for summary.json."""
        same_bytes = int(self.same_bytes.sum())
        return {"exact_copies": len(self), "same_bytes": same_bytes, "same_pixels": len(self) - same_bytes}

    def contents(self, n: int, scratch: Scratch) -> IntArray:
        """Return (n,) index of the image that represents all with the same content, within one set of n images.

        It may be mapped from a file, which `scratch` opens.
        """
        representative = make_array(n, np.int64, scratch)
        for start in range(0, n, ROWS_PER_BLOCK):
            representative[start : start + ROWS_PER_BLOCK] = np.arange(start, min(start + ROWS_PER_BLOCK, n))
        for have_same_bytes in (False, True):  # an image may have the bytes of one with others' pixels
            for start in range(0, len(self), ROWS_PER_BLOCK):
                part = slice(start, start + ROWS_PER_BLOCK)
                some = self.same_bytes[part] == have_same_bytes
                representative[self.copy[part][some]] = representative[self.of[part][some]]
        return representative


def find_exact_copies(
    images: Images, among: Images, neighbors: Neighbors, threads: int, max_pixels: int, read: ReadEntry
) -> ExactCopies:
    """Find the images that equal one of `among`.

    Only neighbors of the same size with a high cosine are decoded, each content once. An image that cannot be read any
    more, or has changed, is left out.

    Args:
        images: The images.
        among: The others; the same object to search within one set.
        neighbors: Of `images`; their indices are of `among`.
        threads: To decode with.
        max_pixels: Of an image that is decoded.
        read: Reads the images.
    """
    within = images is among
    first_of_bytes = among.first_of_bytes
    of = first_of_bytes if within else images.first_in(among)
    sources, targets = _find_candidates(images, among, neighbors, of, first_of_bytes)
    same = _find_same_pixels(images, among, sources, targets, first_of_bytes, threads, max_pixels, read)
    by_pixels = sorted((row, equal) for row, equal in same if not (within and row == equal))
    rows, equals = np.array(by_pixels, np.int64).reshape(-1, 2).T

    def list_copies() -> Iterator[tuple[IntArray, IntArray, BoolArray]]:
        for start in range(0, len(images), ROWS_PER_BLOCK):
            equal = np.array(of[start : start + ROWS_PER_BLOCK])
            if within:
                equal[equal == np.arange(start, start + len(equal))] = -1
            have_same_bytes = equal >= 0
            part = slice(*np.searchsorted(rows, [start, start + len(equal)]))
            own, only_pixels = rows[part] - start, ~have_same_bytes[rows[part] - start]
            equal[own[only_pixels]] = equals[part][only_pixels]
            copies = np.flatnonzero(equal >= 0)
            yield start + copies, equal[copies], have_same_bytes[copies]

    return ExactCopies(*write_and_map_columns(list_copies(), (np.int64, np.int64, bool), images.scratch))


def _find_candidates(
    images: Images, among: Images, neighbors: Neighbors, bytes_of_source: IntArray, bytes_of_target: IntArray
) -> tuple[IntArray, IntArray]:
    """Return the sorted indices of `images`, and of `among`, whose pixels have to be compared.

    bytes_of_source, bytes_of_target: (n,) index of the first of `among` with the same bytes.
    """
    formats: dict[str | None, int] = {}
    shape, form = _encode_stills(images, formats)
    its_shape, its_form = (shape, form) if among is images else _encode_stills(among, formats)
    wanted_source, wanted_target = (make_array(len(some), bool, some.scratch) for some in (images, among))
    for near in select_similar(neighbors, NEAR):
        source, target = near.source, near.target
        same_size = (shape[source] >= 0) & (shape[source] == its_shape[target])
        other_bytes = bytes_of_source[source] != bytes_of_target[target]
        close = (near.value > NEAR_IN_ONE_FORMAT) | (form[source] != its_form[target])
        wanted = same_size & other_bytes & close
        wanted_source[source[wanted]] = wanted_target[target[wanted]] = True
    return np.flatnonzero(wanted_source), np.flatnonzero(wanted_target)


def _encode_stills(images: Images, formats: dict[str | None, int]) -> tuple[IntArray, ShortArray]:
    """Return (n,) sizes and (n,) formats as numbers that are equal for equal ones.

    A size is -1 for frames of videos, and if it is unknown. formats: grows by those that are met.
    """

    def encode() -> Iterator[tuple[IntArray, ShortArray]]:
        for batch in images.entries.select(["width", "height", "format", "sha256", "fps"]).to_batches():
            width, height, form = (batch[name] for name in ("width", "height", "format"))
            size = pc.add(pc.shift_left(width.cast(pa.int64()), 32), height.cast(pa.int64()))
            whole = pc.and_(pc.and_(form.is_valid(), batch["sha256"].is_valid()), batch["fps"].is_null())
            shapes = pc.if_else(whole, size, pa.scalar(None, pa.int64())).fill_null(-1).to_numpy()
            encoded = form.dictionary_encode("encode")
            numbers = [formats.setdefault(name, len(formats)) for name in encoded.dictionary.to_pylist()]
            yield shapes, np.array(numbers, np.int16)[encoded.indices.to_numpy()]

    shapes, forms = write_and_map_columns(encode(), (np.int64, np.int16), images.scratch)
    return shapes, forms


def _find_same_pixels(
    images: Images,
    among: Images,
    sources: IntArray,
    targets: IntArray,
    first_of_bytes: IntArray,
    threads: int,
    max_pixels: int,
    read: ReadEntry,
) -> Iterator[tuple[int, int]]:
    """Yield an index of `images` and that of the first of `among` with the same pixels."""
    pixels = _hash_pixels([(images, sources), (among, targets)], threads, max_pixels, read)
    if images is among:
        sources = targets = np.unique(first_of_bytes[np.concatenate([sources, targets])])
    first: dict[str, int] = {}
    rows = np.unique(first_of_bytes[targets])
    for row, sha256 in zip(rows.tolist(), _read_digests(among, rows), strict=True):
        if digest := pixels.get(sha256):
            first.setdefault(digest, row)
    for row, sha256 in zip(sources.tolist(), _read_digests(images, sources), strict=True):
        if (equal := first.get(pixels.get(sha256) or "", -1)) >= 0:
            yield row, equal


def _read_digests(images: Images, rows: IntArray) -> list[str]:
    digests: list[str] = take_rows(images.entries.select(["sha256"]), rows)["sha256"].to_pylist()
    return digests


def _hash_pixels(
    parts: list[tuple[Images, IntArray]], threads: int, max_pixels: int, read: ReadEntry
) -> dict[str, str | None]:
    """Map the sha256 of a file to that of its pixels, or None if it cannot be decoded any more."""
    files: dict[str, tuple[ImageRef, int]] = {}
    for images, rows in parts:
        entries = images.entries.select(["sha256", "size", "mtime_or_etag", "width", "height"])
        for row, entry in zip(rows.tolist(), take_rows(entries, rows).to_pylist(), strict=True):
            ref = ImageRef(fsdecode(images.names[row].as_py()), entry["size"], entry["mtime_or_etag"])
            files.setdefault(entry["sha256"], (ref, entry["width"] * entry["height"]))
    one_at_a_time = threading.Lock()

    def digest(file: tuple[ImageRef, int]) -> str | None:
        ref, area = file
        with one_at_a_time if area > LARGE else nullcontext():
            try:
                return hash_pixels(read(ref), get_box(ref.uri))
            except Exception:  # the file is gone, has changed, or is too large to decode at its full size
                return None

    with strict_pillow(max_pixels), ThreadPoolExecutor(threads) as pool:
        return dict(zip(files, pool.map(digest, files.values()), strict=True))


def write_exact_copies(store: Store, images: Images, among: Images, copies: ExactCopies, files: FileSet) -> None:
    """Write exact_copies.csv, or that of a scoring, in the order of the images.

    Args:
        store: The work_dir.
        images: As given to `find_exact_copies`.
        among: As given to `find_exact_copies`.
        copies: What it returned.
        files: The file set of `images`.
    """
    with open_csv(store, files.name(layout.EXACT_COPIES_CSV), csv_columns.EXACT_COPIES_HEADER) as write:
        for start in range(0, len(copies), ROWS_PER_BLOCK):
            part = slice(start, start + ROWS_PER_BLOCK)
            kinds = pc.if_else(pa.array(copies.same_bytes[part]), BYTES, PIXELS)
            write([images.names.take(pa.array(copies.copy[part])), among.names.take(pa.array(copies.of[part])), kinds])


def read_exact_copies(store: Store, files: FileSet, names: pa.Array, among: pa.Array) -> ExactCopies:
    """Read what `write_exact_copies` wrote; no duplicates if there is no such file (an earlier version).

    Args:
        store: The work_dir.
        files: The file set.
        names: (n,) raw names of the images, each once.
        among: (m,) raw names of the others, each once.

    Raises:
        DamagedError: The file is damaged, or has other names.
    """
    if not store.exists(files.name(layout.EXACT_COPIES_CSV)):
        none = np.empty(0, np.int64)
        return ExactCopies(none, none, none.astype(bool))
    path = store.fetch(files.name(layout.EXACT_COPIES_CSV))
    header = csv_columns.EXACT_COPIES_HEADER
    ends = (("filename", names), ("copy_of", among))
    copy, of = (find_images(path, header, [end], side, store.scratch)[0] for end, side in ends)
    same_bytes = [pc.equal(block["kind"], BYTES.encode()) for block in iter_csv(path, header)]
    return ExactCopies(copy, of, np.concatenate([np.empty(0, bool), *map(np.asarray, same_bytes)]))
