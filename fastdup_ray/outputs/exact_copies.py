"""exact_copies.csv: which pictures are the same as another, byte for byte or pixel for pixel."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from os import fsdecode

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fastdup_ray.analysis.pairs import select_similar
from fastdup_ray.common import layout
from fastdup_ray.common.facts import Counts
from fastdup_ray.common.layout import FileSet
from fastdup_ray.common.records import ImageRef, Neighbors
from fastdup_ray.extract.decode import strict_pillow
from fastdup_ray.extract.pixels import hash_pixels
from fastdup_ray.inputs import read_entry
from fastdup_ray.outputs.images import Images
from fastdup_ray.storage import Store
from fastdup_ray.storage.tables import parse_rows, read_csv, take_rows, write_csv

BYTES, PIXELS = "bytes", "pixels"
"""The kinds of exact copies."""

NEAR = 0.9
"""Cosine of neighbours above which their pixels may be the same. JPEGs are decoded at a lower size for the model than
PNGs of the same pixels: of 87 such pairs the least cosine was 0.960."""

NEAR_IN_ONE_FORMAT = 0.999
"""The same where one decoder read both: equal pixels have equal rows."""

LARGE = 32_000_000
"""Pixels of a picture of which one at a time is decoded, so that memory does not grow with the threads."""


@dataclass(frozen=True)
class ExactCopies:
    """m copies. copy: (m,) int64 rows of the pictures; of: (m,) int64, the first row with the same content; same_bytes:
    (m,) bool, whether that is the same bytes, or only the same pixels.

    Of pictures with the same content all but one are copies; those of one sha256 are of the first of them.
    """

    copy: np.ndarray
    of: np.ndarray
    same_bytes: np.ndarray

    def __len__(self) -> int:
        return len(self.copy)

    @property
    def counts(self) -> Counts:
        """For summary.json."""
        same_bytes = int(self.same_bytes.sum())
        return {"exact_copies": len(self), "same_bytes": same_bytes, "same_pixels": len(self) - same_bytes}

    def contents(self, n: int) -> np.ndarray:
        """(n,) int64: of each picture of one set the row that stands for all with its content."""
        stands = np.arange(n)
        for copies in (~self.same_bytes, self.same_bytes):  # what is copied byte for byte may itself be of another
            stands[self.copy[copies]] = stands[self.of[copies]]
        return stands


def find_exact_copies(
    pictures: Images, among: Images, neighbors: Neighbors, threads: int, max_pixels: int
) -> ExactCopies:
    """The copies in `among` of each picture; within one set where both are the same object.

    neighbors: of `pictures`, indices are of `among`. Only neighbours of the same size with a near cosine are decoded,
    each content once; one that cannot be read by now, or has changed, is left out.
    """
    within = pictures is among
    first_of_bytes = among.first_of_bytes
    of = first_of_bytes if within else pictures.first_in(among)
    sources, targets = _find_candidates(pictures, among, neighbors, of, first_of_bytes)
    same = _find_same_pixels(pictures, among, sources, targets, first_of_bytes, threads, max_pixels)
    if within:
        of = np.where(of == np.arange(len(of)), -1, of)
    same_bytes = of >= 0
    for row, found in same:
        if of[row] < 0 and not (within and found == row):
            of[row] = found
    copy = np.flatnonzero(of >= 0)
    return ExactCopies(copy, of[copy], same_bytes[copy])


def _find_candidates(
    pictures: Images, among: Images, neighbors: Neighbors, bytes_of_source: np.ndarray, bytes_of_target: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Rows of both whose pixels have to be compared, each once, rising.

    bytes_of_source, bytes_of_target: (n,) of each the first of `among` with the same bytes.
    """
    formats: dict[str | None, int] = {}
    shape, form = _encode_stills(pictures, formats)
    its_shape, its_form = (shape, form) if among is pictures else _encode_stills(among, formats)
    wanted_source, wanted_target = np.zeros(len(pictures), bool), np.zeros(len(among), bool)
    for near in select_similar(neighbors, NEAR):
        source, target = near.source, near.target
        same_size = (shape[source] >= 0) & (shape[source] == its_shape[target])
        other_bytes = bytes_of_source[source] != bytes_of_target[target]
        close = (near.value > NEAR_IN_ONE_FORMAT) | (form[source] != its_form[target])
        wanted = same_size & other_bytes & close
        wanted_source[source[wanted]] = wanted_target[target[wanted]] = True
    return np.flatnonzero(wanted_source), np.flatnonzero(wanted_target)


def _encode_stills(images: Images, formats: dict[str | None, int]) -> tuple[np.ndarray, np.ndarray]:
    """(n,) int64, equal for pictures of the same size, -1 where not all is known, and for frames of videos; (n,) int16
    formats, by their numbers in `formats`, which grows.
    """
    shapes, forms = [np.empty(0, np.int64)], [np.empty(0, np.int16)]
    for batch in images.entries.select(["width", "height", "format", "sha256", "fps"]).to_batches():
        width, height, form = (batch[name] for name in ("width", "height", "format"))
        size = pc.add(pc.shift_left(width.cast(pa.int64()), 32), height.cast(pa.int64()))
        whole = pc.and_(pc.and_(form.is_valid(), batch["sha256"].is_valid()), batch["fps"].is_null())
        shapes.append(pc.if_else(whole, size, pa.scalar(None, pa.int64())).fill_null(-1).to_numpy())
        known = form.dictionary_encode("encode")
        numbers = [formats.setdefault(name, len(formats)) for name in known.dictionary.to_pylist()]
        forms.append(np.array(numbers, np.int16)[known.indices.to_numpy()])
    return np.concatenate(shapes), np.concatenate(forms)


def _find_same_pixels(
    pictures: Images,
    among: Images,
    sources: np.ndarray,
    targets: np.ndarray,
    first_of_bytes: np.ndarray,
    threads: int,
    max_pixels: int,
) -> Iterator[tuple[int, int]]:
    """Rows of `pictures`, and of each the first of `among` with the same pixels."""
    pixels = _hash_pixels([(pictures, sources), (among, targets)], threads, max_pixels)
    if pictures is among:
        sources = targets = np.unique(first_of_bytes[np.concatenate([sources, targets])])
    first: dict[str, int] = {}
    rows = np.unique(first_of_bytes[targets])
    for row, sha256 in zip(rows.tolist(), _read_digests(among, rows), strict=True):
        if found := pixels.get(sha256):
            first.setdefault(found, row)
    for row, sha256 in zip(sources.tolist(), _read_digests(pictures, sources), strict=True):
        if (found := first.get(pixels.get(sha256) or "", -1)) >= 0:
            yield row, found


def _read_digests(images: Images, rows: np.ndarray) -> list[str]:
    return take_rows(images.entries.select(["sha256"]), rows)["sha256"].to_pylist()


def _hash_pixels(wanted: list[tuple[Images, np.ndarray]], threads: int, max_pixels: int) -> dict[str, str | None]:
    """sha256 of a file -> that of its pixels, None where these cannot be had."""
    files: dict[str, tuple[ImageRef, int]] = {}
    for images, rows in wanted:
        entries = images.entries.select(["sha256", "size", "mtime_or_etag", "width", "height"])
        for row, entry in zip(rows.tolist(), take_rows(entries, rows).to_pylist(), strict=True):
            ref = ImageRef(fsdecode(images.names[row].as_py()), entry["size"], entry["mtime_or_etag"])
            files.setdefault(entry["sha256"], (ref, entry["width"] * entry["height"]))
    one_at_a_time = threading.Lock()

    def digest(file: tuple[ImageRef, int]) -> str | None:
        ref, area = file
        with one_at_a_time if area > LARGE else nullcontext():
            try:
                return hash_pixels(read_entry(ref))
            except Exception:  # it was good a while ago: gone, changed, or beyond what can be decoded whole
                return None

    with strict_pillow(max_pixels), ThreadPoolExecutor(threads) as pool:
        return dict(zip(files, pool.map(digest, files.values()), strict=True))


def write_exact_copies(store: Store, pictures: Images, among: Images, copies: ExactCopies, files: FileSet) -> None:
    """In the order of the copies' rows."""
    kinds = pc.if_else(pa.array(copies.same_bytes), BYTES, PIXELS)
    ends = [pictures.names.take(pa.array(copies.copy)), among.names.take(pa.array(copies.of))]
    write_csv(store, files.name(layout.EXACT_COPIES_CSV), layout.EXACT_COPIES_HEADER, [*ends, kinds])


def read_exact_copies(store: Store, files: FileSet, names: pa.Array, among: pa.Array) -> ExactCopies:
    """What `write_exact_copies` wrote; nothing where an earlier version left no such file.

    names, among: (n,) the raw names of both sets, each once.
    """
    if not store.exists(files.name(layout.EXACT_COPIES_CSV)):
        none = np.empty(0, np.int64)
        return ExactCopies(none, none, none.astype(bool))
    path = store.fetch(files.name(layout.EXACT_COPIES_CSV))
    table = read_csv(path, layout.EXACT_COPIES_HEADER)
    copy, of = (parse_rows(path, table[name], side) for name, side in (("filename", names), ("copy_of", among)))
    return ExactCopies(copy, of, pc.equal(table["kind"].cast(pa.binary()), BYTES.encode()).to_numpy())
