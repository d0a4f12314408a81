"""One extractor: a shard of the list in, a feature shard (files) out. Knows nothing of who runs it."""

import hashlib
import io
import platform
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from typing import BinaryIO

import numpy as np
from PIL import Image

from fastdup_ray.common import layout
from fastdup_ray.common.facts import FeatureFacts
from fastdup_ray.common.records import Entry, ImageRef, Limits, Shard, ShardReceipt
from fastdup_ray.errors import BadImageError, ConfigError, ErrorCode
from fastdup_ray.extract.decode import DecodedImage, decode_bytes, decode_image, strict_pillow
from fastdup_ray.extract.embedding_buffer import Embedder, EmbeddingBuffer
from fastdup_ray.extract.gpu_batcher import BatchingModel
from fastdup_ray.extract.model import BATCH, Model, make_fingerprint
from fastdup_ray.extract.transforms import TransformedEmbedder
from fastdup_ray.extract.video import describe_decoder, read_frame, read_frames
from fastdup_ray.extract.worker_threads import AbandonableThread, Watchdog, run_jobs
from fastdup_ray.features import write_shard
from fastdup_ray.inputs import find_frame
from fastdup_ray.inputs.manifest import STATISTICS, make_entries_table
from fastdup_ray.inputs.prefetch import Opened, read_ahead
from fastdup_ray.inputs.suffixes import is_video_name
from fastdup_ray.inputs.video import HEAD, hash_frame, is_video
from fastdup_ray.s3 import USUAL, Access, use
from fastdup_ray.storage import Store
from fastdup_ray.storage.tables import encode_names


@dataclass(frozen=True)
class ExtractSpec:
    """What an extractor has to know.

    threads: of this extractor. timeout: seconds for one picture, or frame of a video. memory: MiB that decoding may
    take; used only where the extractor has a process of its own. facts: what each shard's JSON says of the list.
    model_path: another model than the embedded one. gpu: the model runs there. shards: the folder for them.
    s3: how buckets are asked. turns: of `extract.turns.TURNS`, those of which rows are made instead of the picture.
    """

    store: Store
    threads: int
    limits: Limits
    timeout: float
    memory: int
    facts: FeatureFacts
    model_path: str | None = None
    gpu: bool = False
    shards: str = layout.SHARDS
    s3: Access = USUAL
    transforms: tuple[str, ...] = ()

    @property
    def fingerprint(self) -> dict[str, str]:
        """Of the rows that come out here."""
        return make_fingerprint(
            self.facts["fingerprint"]["model"], self.limits.box, gpu=self.gpu, turns=self.transforms
        )


class Extractor:
    """Reads, decodes and runs the model on `spec.threads` threads, a batch on each.

    watchdog: ends this process when a decoder stops it whole; given where the process can be replaced. There a picture
    that may only be short of memory because of another one is no bad picture: then `extract` raises `MemoryError`.
    """

    def __init__(self, spec: ExtractSpec, watchdog: Watchdog | None = None):
        use(spec.s3)
        self._spec, self._watchdog = spec, watchdog
        self._store = spec.store
        self._model = Model(spec.model_path, gpu=spec.gpu)
        if self._model.sha256 != spec.facts["fingerprint"]["model"]:
            raise ConfigError(f"model_path={spec.model_path!r} is another file on {platform.node()} than here.")
        self._maker: Embedder = BatchingModel(self._model, self._model.batch) if spec.gpu else self._model
        if spec.transforms:
            self._maker = TransformedEmbedder(self._maker, spec.transforms)
        self._digests: dict[ImageRef, str] = {}

    def extract(self, shard: Shard) -> ShardReceipt:
        """Writes the feature shard of `shard`; bad pictures are entries with a code, never errors."""
        cpu = time.process_time()
        late: set[ImageRef] = set()
        jobs = list(_split_jobs(shard.refs))
        alone = len(jobs) == 1 or self._spec.threads == 1

        def work(lane: AbandonableThread, job: tuple[int, int]) -> tuple[list[Entry], np.ndarray]:
            return self._run_job(lane, shard.refs[slice(*job)], late, alone)

        with strict_pillow(self._spec.limits.max_pixels), self._watchdog or nullcontext():
            tick = self._watchdog.reset if self._watchdog else lambda: None
            parts = dict(run_jobs(jobs, work, self._spec.threads, self._spec.timeout, late.add, tick))
        entries = [entry for job in jobs for entry in parts[job][0]]
        blocks = [parts[job][1] for job in jobs]
        receipt = _put_shard(self._store, self._spec, shard, entries, blocks)
        return receipt.with_cost(time.process_time() - cpu, worn=bool(late))

    def _run_job(
        self, lane: AbandonableThread, refs: Sequence[ImageRef], late: set[ImageRef], alone: bool
    ) -> tuple[list[Entry], np.ndarray]:
        """alone: no other lane is at work."""
        rows = EmbeddingBuffer(self._maker)
        entries = list(self._extract_entries(lane, refs, late, rows))
        lane.end_item()
        if self._watchdog and (late or not alone) and any(e.error_code == ErrorCode.OUT_OF_MEMORY for e in entries):
            raise MemoryError("several pictures at once took more memory than an actor may use")
        return _reject_non_finite(entries, rows.take(len(rows)))

    def _extract_entries(
        self, lane: AbandonableThread, refs: Sequence[ImageRef], late: set[ImageRef], rows: EmbeddingBuffer
    ) -> Iterator[Entry]:
        """An entry for each of `refs`; the rows of the good ones are added to `rows`."""
        for ref, file in read_ahead(refs, without=late):
            lane.start_item(ref)
            before = len(rows)
            seen = _EntryFacts()
            try:
                if ref in late:
                    raise BadImageError(ErrorCode.TIMEOUT, f"not read and decoded in {self._spec.timeout:g} seconds")
                yield self._extract_good(lane, ref, file, rows, seen)
            except BadImageError as error:
                rows.take(before)
                yield _make_bad_entry(ref, error, seen.sha256)
            except MemoryError:
                rows.take(before)
                yield _make_bad_entry(ref, BadImageError(ErrorCode.OUT_OF_MEMORY, "the file does not fit into memory"))

    def _extract_good(
        self, lane: AbandonableThread, ref: ImageRef, opened: Opened, rows: EmbeddingBuffer, seen: "_EntryFacts"
    ) -> Entry:
        """The entry of a picture, a frame, or a video; raises `BadImageError`."""
        name, milliseconds = find_frame(ref.uri)
        with opened as file:
            head = file.read(HEAD)
            if is_video(name, head):
                return self._extract_frames(lane, ref, file, rows, seen)
            data = read_once(file)
        if milliseconds is not None:
            raise BadImageError(ErrorCode.MISSING, "the file does not exist")
        seen.sha256 = hashlib.sha256(data).hexdigest()
        picture = decode_bytes(data, self._model.size, self._spec.limits, trim=self._model.trims)
        rows.add(picture.pixels)
        entry = _make_good_entry(ref, seen.sha256, picture, 1, decoder=picture.decoder)
        return replace(entry, **asdict(picture.statistics), unseen=",".join(sorted(picture.unseen)))

    def _extract_frames(
        self, lane: AbandonableThread, ref: ImageRef, file: BinaryIO, rows: EmbeddingBuffer, seen: "_EntryFacts"
    ) -> Entry:
        """The entry of a video, or of the one frame of it that `ref` names."""
        limits = self._spec.limits
        name, milliseconds = find_frame(ref.uri)
        seen.sha256 = self._hash_video(file, replace(ref, uri=name), lambda: lane.start_item(ref))
        if milliseconds is not None:
            seen.sha256 = hash_frame(seen.sha256, milliseconds)
            codec, image = read_frame(file, milliseconds, limits)
            picture = self._decode_frame(image)
            rows.add(picture.pixels)
            return _make_good_entry(ref, seen.sha256, replace(picture, format=codec), 1, decoder=describe_decoder())
        before, first, shown = len(rows), None, None
        for codec, image in read_frames(file, limits):
            lane.start_item(ref)
            if image is not shown:
                shown, picture = image, self._decode_frame(image)
            first = first or replace(picture, format=codec)
            rows.add(picture.pixels)
        return _make_good_entry(
            ref, seen.sha256, first, len(rows) - before, fps=limits.video_fps, decoder=describe_decoder()
        )

    def _decode_frame(self, frame: Image.Image) -> DecodedImage:
        return decode_image(frame, self._model.size, self._spec.limits, trim=self._model.trims)

    def _hash_video(self, file: BinaryIO, video: ImageRef, tick: Callable[[], None]) -> str:
        """sha256 of a video, which is at its beginning thereafter; a list may name each of its frames."""
        if video not in self._digests:
            if len(self._digests) >= _DIGESTS:
                self._digests.clear()
            self._digests[video] = _hash_file(file, tick)
        file.seek(0)
        return self._digests[video]


_CHUNK = 4 << 20
"""Bytes of a video that are read at a time."""

_DIGESTS = 16


class _EntryFacts:
    """What is known of an entry by the time that it turns out bad."""

    sha256: str | None = None


def _split_jobs(refs: Sequence[ImageRef]) -> Iterator[tuple[int, int]]:
    """Ranges of `refs` for one thread at a time: a batch of pictures, or a video."""
    start = 0
    for stop, ref in enumerate(refs):
        if is_video_name(ref.uri):
            if start < stop:
                yield start, stop
            yield stop, stop + 1
            start = stop + 1
        elif stop - start == BATCH:
            yield start, stop
            start = stop
    if start < len(refs):
        yield start, len(refs)


def read_once(file: BinaryIO) -> bytes:
    """Return all bytes of a file, which are in memory once: neither joined of parts, nor copied from a `BytesIO`."""
    size = file.seek(0, io.SEEK_END)
    file.seek(0)
    return file.read(size) + file.read()  # some file systems say 0


def _hash_file(file: BinaryIO, tick: Callable[[], None]) -> str:
    """Of the whole file; `tick` is called on the way."""
    file.seek(0)
    digest = hashlib.sha256()
    while data := file.read(_CHUNK):
        digest.update(data)
        tick()
    return digest.hexdigest()


def _reject_non_finite(entries: list[Entry], rows: np.ndarray) -> tuple[list[Entry], np.ndarray]:
    """The same, where entries with a row that is no number are bad, and have none."""
    lost = np.isnan(rows).any(axis=1)
    if not lost.any():
        return entries, rows
    error = BadImageError(ErrorCode.UNSUPPORTED, "the model's answer to it has no direction: zeros, or no numbers")
    kept, keep, first = [], np.ones(len(rows), bool), 0
    for entry in entries:
        own = slice(first, first := first + entry.rows)
        if lost[own].any():
            keep[own] = False
            nothing = dict.fromkeys((*STATISTICS, "unseen"))
            entry = replace(entry, rows=0, error_code=error.code, error_message=error.message, **nothing)
        kept.append(entry)
    return kept, rows[keep]


def write_quarantined(spec: ExtractSpec, shard: Shard, error: BadImageError) -> ShardReceipt:
    """Writes the feature shard of pictures that no extractor survives: each is bad."""
    return _put_shard(spec.store, spec, shard, [_make_bad_entry(ref, error) for ref in shard.refs], [])


def _put_shard(
    store: Store, spec: ExtractSpec, shard: Shard, entries: list[Entry], blocks: list[np.ndarray]
) -> ShardReceipt:
    # Another attempt at the same range may be alive: each writes under a name of its own.
    stem = f"{spec.shards}/{layout.format_range_stem(shard.start, shard.stop)}-{uuid.uuid4().hex[:12]}"
    facts = spec.facts | {"min_offset": shard.start, "max_offset": shard.stop, "fingerprint": spec.fingerprint}
    write_shard(store, stem, encode_names(entry.uri for entry in entries), make_entries_table(entries), blocks, facts)
    bad = sum(entry.error_code is not None for entry in entries)
    size = sum(ref.size for ref in shard.refs)
    return ShardReceipt(shard.start, shard.stop, stem, len(entries) - bad, bad, size)


def _make_good_entry(
    ref: ImageRef, sha256: str, picture: DecodedImage, rows: int, fps: float | None = None, decoder: str | None = None
) -> Entry:
    return Entry(
        ref.uri,
        ref.size,
        ref.mtime_or_etag,
        sha256=sha256,
        width=picture.width,
        height=picture.height,
        format=picture.format,
        rows=rows,
        fps=fps,
        decoder=decoder,
    )


def _make_bad_entry(ref: ImageRef, error: BadImageError, sha256: str | None = None) -> Entry:
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
