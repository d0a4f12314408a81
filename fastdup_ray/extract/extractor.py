"""One extractor: a shard of the list in, a feature shard (files) out. Knows nothing of who runs it."""

import hashlib
import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastdup_ray import layout
from fastdup_ray.errors import BadImageError, ErrorCode
from fastdup_ray.extract.decode import Decoded, careful_pillow, decode
from fastdup_ray.extract.lanes import Lane, work_off
from fastdup_ray.extract.model import BATCH, DIMENSIONS, SIDE, Model, fingerprint
from fastdup_ray.features import write_shard
from fastdup_ray.inputs import reader_of
from fastdup_ray.manifest import entries_table
from fastdup_ray.records import Entry, ImageRef, Shard, ShardReceipt
from fastdup_ray.storage import Store, open_store
from fastdup_ray.tables import encoded


@dataclass(frozen=True)
class ExtractSpec:
    """What an extractor has to know.

    threads: of this extractor. timeout: seconds for one picture. memory: MiB that decoding may take; used only where
    the extractor has a process of its own. facts: what each shard's JSON says of the list. shards: the folder for them.
    """

    work_dir: str
    threads: int
    max_pixels: int
    timeout: float
    memory: int
    facts: dict[str, Any]
    shards: str = layout.SHARDS


class Extractor:
    """Reads, decodes and runs the model on `spec.threads` threads, a batch on each."""

    def __init__(self, spec: ExtractSpec):
        self._spec = spec
        self._store = open_store(spec.work_dir)
        self._model = Model()

    def extract(self, shard: Shard) -> ShardReceipt:
        """Writes the feature shard of `shard`; bad pictures are entries with a code, never errors."""
        cpu = time.process_time()
        late: set[ImageRef] = set()
        batches = range(0, len(shard.refs), BATCH)

        def work(lane: Lane, first: int) -> tuple[list[Entry], np.ndarray]:
            return self._batch(lane, shard.refs[first : first + BATCH], late)

        with careful_pillow():
            parts = dict(work_off(batches, work, self._spec.threads, self._spec.timeout, late.add))
        entries = [entry for first in batches for entry in parts[first][0]]
        blocks = [parts[first][1] for first in batches]
        receipt = _put(self._store, self._spec, shard, entries, blocks)
        return receipt.with_cost(time.process_time() - cpu, worn=bool(late))

    def _batch(self, lane: Lane, refs: Sequence[ImageRef], late: set[ImageRef]) -> tuple[list[Entry], np.ndarray]:
        pixels: list[np.ndarray] = []
        entries = list(self._entries(lane, refs, late, pixels))
        lane.off()
        return entries, self._model.rows(np.stack(pixels)) if pixels else np.empty((0, DIMENSIONS), np.float32)

    def _entries(
        self, lane: Lane, refs: Sequence[ImageRef], late: set[ImageRef], pixels: list[np.ndarray]
    ) -> Iterator[Entry]:
        """An entry for each of `refs`; the pixels of the good ones are added to `pixels`."""
        for ref in refs:
            lane.on(ref)
            sha256 = None
            try:
                if ref in late:
                    raise BadImageError(ErrorCode.TIMEOUT, f"not read and decoded in {self._spec.timeout:g} seconds")
                data = reader_of(ref)(ref)
                sha256 = hashlib.sha256(data).hexdigest()
                decoded = decode(data, SIDE, self._spec.max_pixels)
            except BadImageError as error:
                yield _bad(ref, error, sha256)
            except MemoryError:
                yield _bad(ref, BadImageError(ErrorCode.OUT_OF_MEMORY, "the file does not fit into memory"))
            else:
                pixels.append(decoded.pixels)
                yield _good(ref, sha256, decoded)


def quarantine(spec: ExtractSpec, shard: Shard, error: BadImageError) -> ShardReceipt:
    """Writes the feature shard of pictures that no extractor survives: each is bad."""
    return _put(open_store(spec.work_dir), spec, shard, [_bad(ref, error) for ref in shard.refs], [])


def _put(store: Store, spec: ExtractSpec, shard: Shard, entries: list[Entry], blocks: list[np.ndarray]) -> ShardReceipt:
    # Another attempt at the same range may be alive: each writes under a name of its own.
    stem = f"{spec.shards}/{layout.range_stem(shard.start, shard.stop)}-{uuid.uuid4().hex[:12]}"
    facts = spec.facts | {"min_offset": shard.start, "max_offset": shard.stop, "fingerprint": fingerprint()}
    write_shard(store, stem, encoded(entry.uri for entry in entries), entries_table(entries), blocks, facts)
    bad = sum(entry.error_code is not None for entry in entries)
    return ShardReceipt(shard.start, shard.stop, stem, len(entries) - bad, bad)


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


def _bad(ref: ImageRef, error: BadImageError, sha256: str | None = None) -> Entry:
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
