"""The extractor: reads a shard of the list and writes a feature shard. It does not know what runs it."""

import hashlib
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
from fastdup_ray.common.access import DEFAULT_ACCESS, Access
from fastdup_ray.common.arrays import FloatArray
from fastdup_ray.common.facts import FeatureFacts
from fastdup_ray.common.records import Entry, ExtractedShard, ImageRef, Limits, Shard, ShardReceipt
from fastdup_ray.errors import BadImageError, ConfigError, ErrorCode
from fastdup_ray.extract.boxes import PhotoCache, add_boxes, decode_box, find_next_boxes
from fastdup_ray.extract.decode import DecodedImage, decode_bytes, decode_image
from fastdup_ray.extract.embedding_buffer import Embedder, EmbeddingBuffer
from fastdup_ray.extract.entries import make_bad_entry, make_good_entry, reject_non_finite
from fastdup_ray.extract.gpu_batcher import BatchingModel
from fastdup_ray.extract.model import BATCH, Model, make_fingerprint
from fastdup_ray.extract.pillow_settings import strict_pillow
from fastdup_ray.extract.read_file import hash_file, read_once, read_photo
from fastdup_ray.extract.transforms import TransformedEmbedder
from fastdup_ray.extract.video import describe_decoder, read_frame, read_frames
from fastdup_ray.extract.worker_threads import AbandonableThread, Watchdog, run_jobs
from fastdup_ray.features import write_shard
from fastdup_ray.inputs import find_part
from fastdup_ray.inputs.manifest import make_entries_table
from fastdup_ray.inputs.prefetch import Opened, read_ahead
from fastdup_ray.inputs.suffixes import is_video_name
from fastdup_ray.inputs.video import HEAD, is_video
from fastdup_ray.storage import Store

_DIGESTS = 16
"""Videos whose digests are remembered, for lists that name each frame."""


@dataclass(frozen=True)
class ExtractSpec:
    """Everything that an extractor needs to know; it can be sent to another process.

    Attributes:
        store: The work_dir to write to; None: return what was read with the receipt.
        threads: Number of threads of one extractor.
        limits: What is too large or too small, and what to take of an image or a video.
        timeout: Seconds for one image, or one frame of a video.
        memory: MiB that decoding may take; applied only if the extractor has a process of its own.
        facts: What the JSON of each feature shard says of the list and the model.
        model_path: Another model than the embedded one.
        gpu: Run the model on a GPU.
        shards: The folder of the feature shards.
        transforms: Names in `transforms.TRANSFORMS`: embed these transforms of an image instead of the image itself.
        access: How buckets with images are accessed.
    """

    store: Store | None
    threads: int
    limits: Limits
    timeout: float
    memory: int
    facts: FeatureFacts
    model_path: str | None = None
    gpu: bool = False
    shards: str = layout.SHARDS
    transforms: tuple[str, ...] = ()
    access: Access = DEFAULT_ACCESS

    @property
    def fingerprint(self) -> dict[str, str]:
        """The fingerprint of the embeddings that the extractor writes."""
        return make_fingerprint(
            self.facts["fingerprint"]["model"], self.limits.box, gpu=self.gpu, transforms=self.transforms
        )


class Extractor:
    """Reads, decodes and embeds images on `spec.threads` threads, a batch on each.

    Args:
        spec: What to do, and where to write.
        watchdog: Kills this process when a decoder stops all of its threads; given where the process can be replaced.
            In such a process an image that failed for lack of memory while others were being decoded is not bad:
            `extract` raises `MemoryError`.

    Raises:
        ConfigError: The model cannot be used on this machine, or is not the one of `spec`.
    """

    def __init__(self, spec: ExtractSpec, watchdog: Watchdog | None = None) -> None:
        self._spec, self._watchdog = spec, watchdog
        self._access = spec.access
        self._model = Model(spec.model_path, gpu=spec.gpu)
        if self._model.sha256 != spec.facts["fingerprint"]["model"]:
            raise ConfigError(
                f"Cannot use the model {spec.model_path!r}: on {platform.node()} it is another file than where the run "
                "was started. Put the same file on every node."
            )
        self._embedder: Embedder = BatchingModel(self._model, self._model.batch) if spec.gpu else self._model
        if spec.transforms:
            self._embedder = TransformedEmbedder(self._embedder, spec.transforms)
        self._digests: dict[ImageRef, str] = {}

    def extract(self, shard: Shard) -> ShardReceipt:
        """Write or return what is in a shard of the list; a bad image becomes an entry with an error code.

        Raises:
            MemoryError: Memory ran out with several images at work; not raised without a watchdog.
        """
        cpu = time.process_time()
        timed_out: set[ImageRef] = set()
        jobs = list(_split_jobs(shard.refs))
        alone = len(jobs) == 1 or self._spec.threads == 1

        def work(thread: AbandonableThread, job: tuple[int, int]) -> tuple[list[Entry], FloatArray]:
            return self._run_job(thread, shard.refs[slice(*job)], timed_out, alone=alone)

        with strict_pillow(self._spec.limits.max_pixels), self._watchdog or nullcontext():
            tick = self._watchdog.reset if self._watchdog else lambda: None
            parts = dict(run_jobs(jobs, work, self._spec.threads, self._spec.timeout, timed_out.add, tick))
        entries = [entry for job in jobs for entry in parts[job][0]]
        blocks = [parts[job][1] for job in jobs]
        receipt = _deliver(self._spec, shard, entries, blocks)
        return receipt.with_cost(time.process_time() - cpu, worn=bool(timed_out))

    def _run_job(
        self, thread: AbandonableThread, refs: Sequence[ImageRef], timed_out: set[ImageRef], *, alone: bool
    ) -> tuple[list[Entry], FloatArray]:
        """Return the entries of `refs` and their embeddings. alone: no other thread is at work."""
        buffer = EmbeddingBuffer(self._embedder)
        entries = list(self._extract_entries(thread, refs, timed_out, buffer))
        thread.end_item()
        is_short = any(entry.error_code == ErrorCode.OUT_OF_MEMORY for entry in entries)
        if self._watchdog and (timed_out or not alone) and is_short:
            raise MemoryError("several images at once took more memory than an actor may use")
        return reject_non_finite(entries, buffer.take(len(buffer)))

    def _extract_entries(
        self, thread: AbandonableThread, refs: Sequence[ImageRef], timed_out: set[ImageRef], buffer: EmbeddingBuffer
    ) -> Iterator[Entry]:
        """Yield the entry of each of `refs`, and add the embeddings of the good ones to the buffer."""
        photos = PhotoCache(self._spec.limits, concurrent=self._is_concurrent)
        timed_out = add_boxes(frozenset(timed_out), refs)  # other threads add to it
        for ref, file in read_ahead(refs, self._access, without=timed_out | find_next_boxes(refs)):
            thread.start_item(ref)
            before = len(buffer)
            partial = _PartialEntry()
            try:
                if ref in timed_out:
                    raise BadImageError(ErrorCode.TIMEOUT, f"not read and decoded in {self._spec.timeout:g} seconds")
                yield self._extract_good(thread, ref, file, buffer, partial, photos)
            except BadImageError as error:
                buffer.take(before)
                yield make_bad_entry(ref, error, partial.sha256)
            except MemoryError:
                buffer.take(before)
                yield make_bad_entry(ref, BadImageError(ErrorCode.OUT_OF_MEMORY, "the file does not fit into memory"))

    def _extract_good(
        self,
        thread: AbandonableThread,
        ref: ImageRef,
        opened: Opened,
        buffer: EmbeddingBuffer,
        partial: "_PartialEntry",
        photos: PhotoCache,
    ) -> Entry:
        """Return the entry of an image, a box, a frame or a video; raise `BadImageError` if it is bad."""
        part = find_part(ref.uri, self._access)
        if part.box is not None:
            partial.sha256 = photos.load((part.file, ref.mtime_or_etag), lambda: read_photo(part.file, opened))
            partial.sha256 = partial.sha256 and part.hash(partial.sha256)
            decoded = decode_box(photos.photo, part.box, self._model.size, self._spec.limits, self._model.fit)
            return self._add(ref, decoded, buffer, partial)
        with opened as file:
            head = file.read(HEAD)
            if is_video(part.file, head):
                return self._extract_frames(thread, ref, file, buffer, partial)
            data = read_once(file)
        if part.milliseconds is not None:
            raise BadImageError(ErrorCode.MISSING, "the file does not exist")
        partial.sha256 = hashlib.sha256(data).hexdigest()
        decoded = decode_bytes(
            data, self._model.size, self._spec.limits, self._model.fit, concurrent=self._is_concurrent
        )
        return self._add(ref, decoded, buffer, partial)

    @property
    def _is_concurrent(self) -> bool:
        return self._spec.threads > 2

    def _add(self, ref: ImageRef, image: DecodedImage, buffer: EmbeddingBuffer, partial: "_PartialEntry") -> Entry:
        """Add an image to the buffer, and return its entry."""
        buffer.add(image.pixels)
        assert partial.sha256 is not None
        entry = make_good_entry(ref, partial.sha256, image, 1, decoder=image.decoder)
        return replace(entry, **asdict(image.statistics), unseen=",".join(sorted(image.unseen)))

    def _extract_frames(
        self,
        thread: AbandonableThread,
        ref: ImageRef,
        file: BinaryIO,
        buffer: EmbeddingBuffer,
        partial: "_PartialEntry",
    ) -> Entry:
        """Return the entry of a video, or of the one frame of it that `ref` names."""
        limits = self._spec.limits
        part = find_part(ref.uri, self._access)
        partial.sha256 = part.hash(self._hash_video(file, replace(ref, uri=part.file), lambda: thread.start_item(ref)))
        if part.milliseconds is not None:
            codec, frame = read_frame(file, part.milliseconds, limits)
            image = self._decode_frame(codec, frame)
            buffer.add(image.pixels)
            return make_good_entry(ref, partial.sha256, image, 1, decoder=describe_decoder())
        before = len(buffer)
        first: DecodedImage | None = None
        last_frame: Image.Image | None = None
        for codec, frame in read_frames(file, limits):
            thread.start_item(ref)
            if frame is not last_frame:
                last_frame, image = frame, self._decode_frame(codec, frame)
            first = first or image
            buffer.add(image.pixels)
        if first is None:
            raise BadImageError(ErrorCode.CORRUPT, "no frame can be decoded")
        rows = len(buffer) - before
        return make_good_entry(ref, partial.sha256, first, rows, fps=limits.video_fps, decoder=describe_decoder())

    def _decode_frame(self, codec: str, frame: Image.Image) -> DecodedImage:
        image = decode_image(frame, self._model.size, self._spec.limits, self._model.fit)
        return replace(image, format=codec)

    def _hash_video(self, file: BinaryIO, video: ImageRef, tick: Callable[[], None]) -> str:
        """Return the sha256 of a video, whose file is at its beginning afterwards."""
        if video not in self._digests:
            if len(self._digests) >= _DIGESTS:
                self._digests.clear()
            self._digests[video] = hash_file(file, tick)
        file.seek(0)
        return self._digests[video]


class _PartialEntry:
    """What was found out about an entry before it turned out bad."""

    sha256: str | None = None


def _split_jobs(refs: Sequence[ImageRef]) -> Iterator[tuple[int, int]]:
    """Yield ranges of `refs`, each for one thread: a batch of images, with all boxes of a photo, or one video."""
    start, next_boxes = 0, find_next_boxes(refs)
    for stop, ref in enumerate(refs):
        if is_video_name(ref.uri):
            if start < stop:
                yield start, stop
            yield stop, stop + 1
            start = stop + 1
        elif stop - start >= BATCH and ref not in next_boxes:
            yield start, stop
            start = stop
    if start < len(refs):
        yield start, len(refs)


def deliver_quarantined(spec: ExtractSpec, shard: Shard, error: BadImageError) -> ShardReceipt:
    """Deliver images that kill every extractor, as `Extractor.extract` does: all are bad, for the reason in `error`."""
    return _deliver(spec, shard, [make_bad_entry(ref, error) for ref in shard.refs], [])


def _deliver(spec: ExtractSpec, shard: Shard, entries: list[Entry], blocks: list[FloatArray]) -> ShardReceipt:
    """Write a feature shard and return its receipt; without a work_dir, return what would be in it, too."""
    stem, extracted = "", None
    if spec.store is None:
        embeddings = np.concatenate([np.empty((0, spec.facts["d"]), np.float32), *blocks])
        extracted = ExtractedShard(entries, embeddings)
    else:
        stem = _write_feature_shard(spec, spec.store, shard, entries, blocks)
    bad = sum(entry.error_code is not None for entry in entries)
    size = sum(ref.size for ref in shard.refs)
    return ShardReceipt(shard.start, shard.stop, stem, len(entries) - bad, bad, size, extracted=extracted)


def _write_feature_shard(
    spec: ExtractSpec, store: Store, shard: Shard, entries: list[Entry], blocks: list[FloatArray]
) -> str:
    """Return the stem of its files."""
    # Another attempt at the same range may still be alive: each writes under a name of its own.
    stem = f"{spec.shards}/{layout.format_range_stem(shard.start, shard.stop)}-{uuid.uuid4().hex[:12]}"
    facts = spec.facts | {"min_offset": shard.start, "max_offset": shard.stop, "fingerprint": spec.fingerprint}
    write_shard(store, stem, make_entries_table(entries), blocks, facts)
    return stem
