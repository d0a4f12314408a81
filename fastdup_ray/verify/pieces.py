"""Pairs to verify, cut into pieces: files below shards/verify that workers read and answer, each on its own.

A piece is a Parquet file with one row per pair; its answer has the same rows. An image is decoded once in a piece, as
its pairs stand together.
"""

import hashlib
import json
from collections import OrderedDict
from collections.abc import Iterator
from os import fsdecode
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from fastdup_ray.analysis.verified_pairs import BOX, MATRIX, VERIFIED
from fastdup_ray.common.records import ImageRef
from fastdup_ray.common.relations import Relation
from fastdup_ray.extract.decode import make_decoder_fingerprint
from fastdup_ray.extract.pillow_settings import strict_pillow
from fastdup_ray.inputs import ReadEntry, get_box
from fastdup_ray.storage import Store
from fastdup_ray.storage.parquet_files import open_parquet
from fastdup_ray.system.threads import map_threads
from fastdup_ray.verify.filters import single_threaded_opencv
from fastdup_ray.verify.load import Views, load_views
from fastdup_ray.verify.relate import Verdict
from fastdup_ray.verify.relate_files import relate_files

RECIPE = 8
"""Part of the key of stored verdicts. Increase it with any change to this package that changes one."""

PAIRS_OF_FIRST_PIECE, PAIRS_PER_PIECE = 16, 256
"""Half a second and some seconds of work. Each piece has twice as many pairs as the one before it, up to the second
number."""

MOST_PIECES = 8_192
"""About the largest number of pieces: of very many pairs, each has more. They are files in one folder."""

TASKS = pa.schema(
    [
        ("from", pa.int64()),
        ("to", pa.int64()),
        ("similarity", pa.float64()),
        ("contents", pa.large_string()),
        *(
            (f"{name}_{end}", kind)
            for end in ("from", "to")
            for name, kind in (("uri", pa.large_binary()), ("size", pa.int64()), ("token", pa.large_string()))
        ),
    ]
)

CACHE_BYTES = 256 << 20
"""Decoded images that a thread keeps."""


def make_recipe(max_pixels: int) -> str:
    """Return what verdicts depend on besides the bytes of both files, in a few letters."""
    parts = [RECIPE, cv2.__version__, make_decoder_fingerprint(), max_pixels]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:8]


def name_piece(folder: str, number: int) -> str:
    """Return the name of the file of a piece."""
    return f"{folder}/{number:08d}.pairs"


def name_answer(folder: str, number: int) -> str:
    """Return the name of the file with the answer to a piece."""
    return f"{folder}/{number:08d}.verified"


def list_images(store: Store, folder: str, number: int) -> list[str]:
    """Return the names of the images of a piece, each once."""
    pairs = pq.read_table(store.fetch(name_piece(folder, number)), columns=["uri_from", "uri_to"])
    return [fsdecode(name) for name in {*pairs["uri_from"].to_pylist(), *pairs["uri_to"].to_pylist()}]


def verify_piece(store: Store, folder: str, number: int, max_pixels: int, read: ReadEntry, threads: int) -> int:
    """Look at the pairs of a piece, and write the answer.

    Args:
        store: The work_dir.
        folder: Folder of the pieces.
        number: Of the piece.
        max_pixels: Pixels of the largest image that is decoded.
        read: Reads the images.
        threads: Threads to use; the answer does not depend on it.

    Returns:
        The number of pairs.
    """
    pairs = pq.read_table(store.fetch(name_piece(folder, number)), schema=TASKS)
    size = -(-len(pairs) // threads) or 1
    parts = [pairs.slice(start, size) for start in range(0, len(pairs), size)]
    with strict_pillow(max_pixels), single_threaded_opencv():
        answers = map_threads(threads, lambda part: list(_verify(part, read)), parts)
    with open_parquet(store, name_answer(folder, number), VERIFIED.schema) as write:
        write(pa.Table.from_pylist([row for answer in answers for row in answer], VERIFIED.schema))
    return len(pairs)


def _verify(pairs: pa.Table, read: ReadEntry) -> Iterator[dict[str, Any]]:
    files = _FileCache(read)
    for pair in pairs.to_pylist():
        first, second = (
            files.load(ImageRef(fsdecode(pair[f"uri_{end}"]), pair[f"size_{end}"], pair[f"token_{end}"]))
            for end in ("from", "to")
        )
        verdict = Verdict(Relation.UNSURE) if first is None or second is None else relate_files(first, second)
        yield {name: pair[name] for name in ("from", "to", "similarity", "contents")} | _describe(verdict)


def _describe(verdict: Verdict) -> dict[str, Any]:
    matrix = [None] * 6 if verdict.matrix is None else np.round(verdict.matrix.ravel(), 6).tolist()
    return {
        "relation": verdict.relation.value,
        "cover_from": round(verdict.cover_from, 4),
        "cover_to": round(verdict.cover_to, 4),
        "difference": round(verdict.difference, 6),
        **dict(zip(BOX, (round(edge, 4) for edge in verdict.box), strict=True)),
        **dict(zip(MATRIX, matrix, strict=True)),
        "lost_from": verdict.lost_from,
        "lost_to": verdict.lost_to,
    }


class _FileCache:
    """The decoded files that were used last; None for one that cannot be read any more, or has changed."""

    def __init__(self, read: ReadEntry) -> None:
        self._read = read
        self._files: OrderedDict[ImageRef, Views | None] = OrderedDict()
        self._bytes = 0

    def load(self, ref: ImageRef) -> Views | None:
        if ref in self._files:
            self._files.move_to_end(ref)
            return self._files[ref]
        views = self._decode(ref)
        self._files[ref] = views
        self._bytes += _count_bytes(views)
        while self._bytes > CACHE_BYTES and len(self._files) > 2:
            _, oldest = self._files.popitem(last=False)
            self._bytes -= _count_bytes(oldest)
        return views

    def _decode(self, ref: ImageRef) -> Views | None:
        try:
            return load_views(self._read(ref), get_box(ref.uri))
        except Exception:  # gone, changed, too large to decode at full size: it stays undecided
            return None


def _count_bytes(views: Views | None) -> int:
    return 0 if views is None else sum(page.pixels.nbytes for page in views.pages)
