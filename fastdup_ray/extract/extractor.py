"""One extractor: a shard of the list in, a feature shard (files) out. Knows nothing of who runs it."""

import hashlib
import uuid
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastdup_ray import layout
from fastdup_ray.errors import BadImageError
from fastdup_ray.extract.decode import Decoded, careful_pillow, decode
from fastdup_ray.extract.model import BATCH, DIMENSIONS, SIDE, Model, fingerprint
from fastdup_ray.features import write_shard
from fastdup_ray.inputs import reader_of
from fastdup_ray.manifest import entries_table
from fastdup_ray.outputs.tables import encoded
from fastdup_ray.records import Entry, ImageRef, Shard, ShardReceipt
from fastdup_ray.storage import open_store


@dataclass(frozen=True)
class ExtractSpec:
    """What an extractor has to know; facts: what each shard's JSON says of the list."""

    work_dir: str
    threads: int
    max_pixels: int
    facts: dict[str, Any]


class Extractor:
    """Reads, decodes and runs the model on `spec.threads` threads, a batch on each."""

    def __init__(self, spec: ExtractSpec):
        self._spec = spec
        self._store = open_store(spec.work_dir)
        self._model = Model()

    def extract(self, shard: Shard) -> ShardReceipt:
        """Writes the feature shard of `shard`; bad pictures are entries with a code, never errors."""
        batches = [shard.refs[start : start + BATCH] for start in range(0, len(shard.refs), BATCH)]
        with careful_pillow(), ThreadPoolExecutor(self._spec.threads) as threads:
            parts = list(threads.map(self._batch, batches))
        entries = [entry for part, _ in parts for entry in part]
        # Another attempt at the same range may be alive: each writes under a name of its own.
        stem = f"{layout.SHARDS}/{layout.range_stem(shard.start, shard.stop)}-{uuid.uuid4().hex[:12]}"
        facts = self._spec.facts | {
            "min_offset": shard.start,
            "max_offset": shard.stop,
            "d": DIMENSIONS,
            "fingerprint": fingerprint(),
        }
        blocks = [rows for _, rows in parts]
        write_shard(self._store, stem, encoded(e.uri for e in entries), entries_table(entries), blocks, facts)
        bad = sum(entry.error_code is not None for entry in entries)
        return ShardReceipt(shard, stem, len(entries) - bad, bad)

    def _batch(self, refs: Sequence[ImageRef]) -> tuple[list[Entry], np.ndarray]:
        pixels: list[np.ndarray] = []
        entries = list(self._entries(refs, pixels))
        return entries, self._model.rows(np.stack(pixels)) if pixels else np.empty((0, DIMENSIONS), np.float32)

    def _entries(self, refs: Sequence[ImageRef], pixels: list[np.ndarray]) -> Iterator[Entry]:
        """An entry for each of `refs`; the pixels of the good ones are added to `pixels`."""
        for ref in refs:
            sha256 = None
            try:
                data = reader_of(ref)(ref)
                sha256 = hashlib.sha256(data).hexdigest()
                decoded = decode(data, SIDE, self._spec.max_pixels)
            except BadImageError as error:
                yield _bad(ref, sha256, error)
            else:
                pixels.append(decoded.pixels)
                yield _good(ref, sha256, decoded)


def _good(ref: ImageRef, sha256: str, decoded: Decoded) -> Entry:
    return Entry(
        ref.uri,
        ref.size,
        ref.mtime_or_etag,
        sha256=sha256,
        width=decoded.width,
        height=decoded.height,
        format=decoded.format,
        rows=1,
    )


def _bad(ref: ImageRef, sha256: str | None, error: BadImageError) -> Entry:
    width, height = error.size or (None, None)
    return Entry(
        ref.uri,
        ref.size,
        ref.mtime_or_etag,
        sha256=sha256,
        width=width,
        height=height,
        error_code=error.code,
        error_message=error.message,
    )
