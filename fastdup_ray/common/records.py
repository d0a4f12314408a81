"""What crosses from one part to another."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import NamedTuple

import numpy as np

from fastdup_ray.common.facts import SearchSummary
from fastdup_ray.errors import ErrorCode


@dataclass(frozen=True, slots=True)
class ImageRef:
    """One entry of the list, as the lister saw it.

    uri: absolute path or URI; bytes that are not UTF-8 as surrogates (`os.fsdecode`).
    size: bytes. mtime_or_etag: opaque token that changes when the content does; "" where there is nothing to read.
    """

    uri: str
    size: int
    mtime_or_etag: str


@dataclass(frozen=True, slots=True)
class Shard:
    """Work for one extractor: list entries of the half-open range [start, stop), those that have to be read.

    offsets[i] is the place of refs[i] in the list; offsets rise from `start` to `stop - 1`.
    """

    start: int
    stop: int
    offsets: Sequence[int]
    refs: Sequence[ImageRef]

    def split(self, parts: int) -> "list[Shard]":
        """The same entries in `parts` shards, or as many as there are entries."""
        size = -(-len(self.refs) // parts)
        return [
            Shard(int(offsets[0]), int(offsets[-1]) + 1, offsets, self.refs[first : first + size])
            for first in range(0, len(self.refs), size)
            for offsets in [self.offsets[first : first + size]]
        ]


MIN_SIDE = 2
"""Pixels a side under which a picture, or what a bounding box leaves of it, tells nothing."""


class Box(NamedTuple):
    """What is kept of every picture: [rows:rows+height, cols:cols+width], in pixels of the upright picture."""

    rows: int
    cols: int
    width: int
    height: int

    def __str__(self) -> str:
        return ",".join(f"{name}={value}" for name, value in self._asdict().items())


@dataclass(frozen=True, slots=True)
class Statistics:
    """Of one picture, at the size and in the box in which the model gets it (128 x 128 for the embedded one).

    brightness: mean of its grey values (ITU-R 601 luma), 0 black to 255 white. contrast: their standard deviation, 0 to
    127.5. blur: the variance of their Laplacian (4 neighbours), 0 flat; the lower, the more blurred. unique_colors:
    how many different RGB values there are.
    """

    brightness: float
    contrast: float
    blur: float
    unique_colors: int


class Unseen(StrEnum):
    """What a file holds that its embedding does not show, so that similarity says nothing of it.

    FRAMES: pages or frames after the first, smaller versions in an icon, layers. VIDEO: a clip that is part of a
    photograph. CHANNELS: channels beside color and opacity. TRANSPARENCY: drawing in the color of the ground.
    VALUES: samples beyond the range that is shown. ASPECT_RATIO: details of a very long image. MARGIN: marks in a
    margin that was left out.
    """

    FRAMES = "frames"
    VIDEO = "video"
    CHANNELS = "channels"
    TRANSPARENCY = "transparency"
    VALUES = "values"
    ASPECT_RATIO = "aspect_ratio"
    MARGIN = "margin"


@dataclass(frozen=True, slots=True)
class Limits:
    """What is taken of a picture, and what is too much or too little of it.

    max_pixels: of a picture or a frame. min_size: pixels of its shorter side. video_fps: frames to take of a second of
    a video. max_frames: to take of a video. box: what is kept of each.
    """

    max_pixels: int
    min_size: int = MIN_SIDE
    video_fps: float = 1.0
    max_frames: int = 100_000
    box: Box | None = None


@dataclass(frozen=True, slots=True)
class Entry:
    """What became of one entry of the list: rows of features, or the reason why it is bad.

    fps: of a video, frames a second that its rows are. decoder: what decoded it, where that is not Pillow alone.
    unseen: values of `Unseen` with commas between, "" where the embedding shows all; None where nothing is known.
    """

    uri: str
    size: int
    mtime_or_etag: str
    sha256: str | None = None
    width: int | None = None
    height: int | None = None
    format: str | None = None
    rows: int = 0
    fps: float | None = None
    decoder: str | None = None
    error_code: ErrorCode | None = None
    error_message: str | None = None
    brightness: float | None = None
    contrast: float | None = None
    blur: float | None = None
    unique_colors: int | None = None
    unseen: str | None = None


@dataclass(frozen=True, slots=True)
class ShardReceipt:
    """What an extractor says of the shard [start, stop) that it has written under `stem`; the arrays stay in the files.

    good, bad: entries. size: bytes of their files. cpu_seconds: of its process. worn: it left a thread behind, and had
    better be replaced.
    """

    start: int
    stop: int
    stem: str
    good: int
    bad: int
    size: int
    cpu_seconds: float = 0.0
    worn: bool = False

    def with_cost(self, cpu_seconds: float, *, worn: bool) -> "ShardReceipt":
        return replace(self, cpu_seconds=cpu_seconds, worn=worn)


NEIGHBORS_PER_BLOCK = 1 << 20
"""Neighbours that are looked at at a time."""


@dataclass(frozen=True, slots=True)
class Neighbors:
    """Each image's closest others, the closest first.

    similarity: (n, k) float64, cosines rounded to 6 decimals. indices: (n, k) int64, -1 where there is none.
    summary: what was searched, how, and the measured recall. distance: (n, k) float64, the values of `metric`, by which
    they are ordered: for `cosine` the cosines, else distances, 0 for equal rows. The arrays may be mapped from files.
    """

    similarity: np.ndarray
    indices: np.ndarray
    summary: SearchSummary
    distance: np.ndarray
    metric: str

    def __len__(self) -> int:
        return len(self.indices)

    @property
    def k(self) -> int:
        return self.indices.shape[1]

    def blocks(self) -> Iterator[slice]:
        """The rows, in parts of at most `CELLS` neighbours: what is done part by part takes as much whatever n is."""
        step = max(1, NEIGHBORS_PER_BLOCK // max(1, self.k))
        return (slice(start, min(start + step, len(self))) for start in range(0, len(self), step))


@dataclass(frozen=True, slots=True)
class Pairs:
    """m directed pairs: source, target (m,) int64 indices of images; value (m,) float64, 6 decimals.

    less_is_closer: whether the values are distances.
    """

    source: np.ndarray
    target: np.ndarray
    value: np.ndarray
    less_is_closer: bool = False

    def __len__(self) -> int:
        return len(self.value)

    def select(self, wanted: np.ndarray) -> "Pairs":
        """wanted: (m,) bool, or places."""
        return replace(self, source=self.source[wanted], target=self.target[wanted], value=self.value[wanted])
