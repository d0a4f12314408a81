"""Records that packages exchange."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TYPE_CHECKING, ClassVar, NamedTuple, TypeAlias

from fastdup_ray.common.facts import SearchSummary
from fastdup_ray.errors import ErrorCode

if TYPE_CHECKING:  # the command line shows its help without NumPy
    from fastdup_ray.common.arrays import BoolArray, DoubleArray, FloatArray, IntArray


@dataclass(frozen=True, slots=True)
class ImageRef:
    """An entry of the list, as it was when it was listed.

    Attributes:
        uri: Absolute path or URI. Bytes that are not in the encoding of the locale are surrogates (`os.fsdecode`).
        size: Bytes.
        mtime_or_etag: Token that changes when the content changes; "" if there is nothing to read.
    """

    uri: str
    size: int
    mtime_or_etag: str


@dataclass(frozen=True, slots=True)
class LoadedRef(ImageRef):
    """An entry whose bytes are in memory: a row of somebody else's data set, which cannot be read again by its name.

    Attributes:
        data: The bytes of the file.
    """

    data: bytes = field(repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class Shard:
    """Work for one extract actor: the entries of a range of the list that have to be read.

    Attributes:
        start: Offset of the first entry in the list.
        stop: Offset of the last entry plus one.
        offsets: Offset of each of `refs`, ascending. Not every entry of the range has to be among them.
        refs: The entries.
    """

    start: int
    stop: int
    offsets: Sequence[int]
    refs: Sequence[ImageRef]

    def split(self, parts: int) -> "list[Shard]":
        """Split the shard into `parts` shards of about the same size, or fewer if it has fewer entries."""
        size = -(-len(self.refs) // parts)
        return [
            Shard(int(offsets[0]), int(offsets[-1]) + 1, offsets, self.refs[first : first + size])
            for first in range(0, len(self.refs), size)
            for offsets in [self.offsets[first : first + size]]
        ]


MIN_SIDE = 2
"""Pixels: an image with a shorter side, also after cropping to the bounding box, is bad."""


class Box(NamedTuple):
    """The part of each image that is used, in pixels of the upright image: [rows:rows+height, cols:cols+width]."""

    rows: int
    cols: int
    width: int
    height: int

    def __str__(self) -> str:
        return ",".join(f"{name}={value}" for name, value in self._asdict().items())

    def resolve(self, size: tuple[int, int]) -> "Box":  # noqa: ARG002 (as of RelativeBox)
        """Return the box itself: it is in pixels, whatever the size of the image."""
        return self


@dataclass(frozen=True, slots=True)
class RelativeBox:
    """A box in parts of an image whose size need not be known: `left`, `top`, `width`, `height`, in 1 / `UNITS`."""

    left: int
    top: int
    width: int
    height: int

    UNITS: ClassVar[int] = 10_000_000

    def resolve(self, size: tuple[int, int]) -> Box:
        """Return the box in pixels of an upright image of some width and height; its edges are rounded."""
        left, right = (_round_part(edge, size[0]) for edge in (self.left, self.left + self.width))
        top, bottom = (_round_part(edge, size[1]) for edge in (self.top, self.top + self.height))
        return Box(top, left, right - left, bottom - top)


def _round_part(edge: int, side: int) -> int:
    return (2 * edge * side + RelativeBox.UNITS) // (2 * RelativeBox.UNITS)


AnyBox: TypeAlias = Box | RelativeBox
"""A box of a photo, as its name says it."""


@dataclass(frozen=True, slots=True)
class Statistics:
    """Statistics of an image, measured on the input of the model (128 x 128 pixels for the embedded one).

    Attributes:
        brightness: Mean gray value (ITU-R BT.601 luma), from 0, black, to 255, white.
        contrast: Standard deviation of the gray values, from 0 to 127.5.
        blur: Variance of the Laplacian (4 neighbors) of the gray values; the lower, the more blurred.
        unique_colors: Number of different RGB values.
    """

    brightness: float
    contrast: float
    blur: float
    unique_colors: int


class Unseen(StrEnum):
    """Content of a file that its embedding does not cover, so that a similarity says nothing about it.

    Attributes:
        FRAMES: Pages or frames after the first, smaller versions in an icon, layers.
        VIDEO: A clip that is part of a photo.
        CHANNELS: Channels besides color and opacity.
        TRANSPARENCY: Drawing in the color of the background.
        VALUES: Samples outside the displayed range, or those of a camera's raw file.
        ASPECT_RATIO: Details of a very long image.
        MARGIN: Marks in a margin that was cropped.
        CROP: What is beside the center that the model takes.
    """

    FRAMES = "frames"
    VIDEO = "video"
    CHANNELS = "channels"
    TRANSPARENCY = "transparency"
    VALUES = "values"
    ASPECT_RATIO = "aspect_ratio"
    MARGIN = "margin"
    CROP = "crop"


@dataclass(frozen=True, slots=True)
class Limits:
    """Which part of an image or video is used, and the sizes that are accepted.

    Attributes:
        max_pixels: Pixels of the largest image or frame.
        min_size: Pixels of the shorter side of the smallest image.
        video_fps: Frames per second to take from a video.
        max_frames: Frames to take from a video; one with more is bad.
        box: The part of each image that is used; all of it if None.
    """

    max_pixels: int
    min_size: int = MIN_SIDE
    video_fps: float = 1.0
    max_frames: int = 100_000
    box: Box | None = None

    def with_frames(self, most: int) -> "Limits":
        """Return the limits with another `max_frames`."""
        return replace(self, max_frames=most)


@dataclass(frozen=True, slots=True)
class Entry:
    """The result of one entry of the list: its embeddings, or why it is bad.

    The attributes are columns of manifest.parquet (`inputs.manifest.ENTRIES`); None where a value is not known.

    Attributes:
        uri: Absolute path or URI, as in `ImageRef`.
        size: Bytes.
        mtime_or_etag: Token that changes when the content changes.
        sha256: Digest of the file, in hex.
        width: Pixels, of the upright image.
        height: Pixels, of the upright image.
        format: Format of the file.
        rows: Number of embeddings: 0 if the entry is bad, several for a video.
        fps: For a video, frames per second that were taken.
        decoder: What decoded it, if not Pillow alone.
        error_code: Why it is bad.
        error_message: Why it is bad, in words.
        brightness: See `Statistics`.
        contrast: See `Statistics`.
        blur: See `Statistics`.
        unique_colors: See `Statistics`.
        unseen: Values of `Unseen`, separated by commas; "" if the embedding covers everything.
        taken: When the photo was taken, such as `2019-05-04 12:30:00`, by the clock of the camera.
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
    taken: str | None = None


@dataclass(frozen=True, slots=True)
class ExtractedShard:
    """What was read of a shard.

    Attributes:
        entries: The entries in order, good and bad.
        embeddings: (n, d) float32, those of the good entries in order.
    """

    entries: Sequence[Entry]
    embeddings: "FloatArray"


@dataclass(frozen=True, slots=True)
class ShardReceipt:
    """What an extract actor reports about a shard that it has written; embeddings stay in the files.

    Attributes:
        start: Offset of the first entry in the list.
        stop: Offset of the last entry plus one.
        stem: Stem of the files.
        good: Number of good entries.
        bad: Number of bad entries.
        size: Bytes of the files that were read.
        cpu_seconds: CPU time of the process.
        worn: Whether the process has abandoned a thread, and should be replaced.
        extracted: What was read, if there is no work_dir to write it to.
    """

    start: int
    stop: int
    stem: str
    good: int
    bad: int
    size: int
    cpu_seconds: float = 0.0
    worn: bool = False
    extracted: ExtractedShard | None = None

    def with_cost(self, cpu_seconds: float, *, worn: bool) -> "ShardReceipt":
        """Return the receipt with its CPU time, and whether the process should be replaced."""
        return replace(self, cpu_seconds=cpu_seconds, worn=worn)


NEIGHBORS_PER_BLOCK = 1 << 20
"""Neighbors that are processed at a time."""


@dataclass(frozen=True, slots=True)
class Neighbors:
    """The k nearest neighbors of each image, the nearest first. The arrays may be mapped from files.

    Attributes:
        similarity: (n, k) float64, cosine similarity rounded to 6 decimals.
        indices: (n, k) int64 indices of images, -1 where there is no neighbor.
        summary: What was searched, how, and the measured recall.
        distance: (n, k) float64 values of `metric`, by which the neighbors are ordered: the cosine similarity for
            `cosine`, otherwise a distance that is 0 for equal embeddings.
        metric: Name of the metric, as in the parameter `distance`.
    """

    similarity: "DoubleArray"
    indices: "IntArray"
    summary: SearchSummary
    distance: "DoubleArray"
    metric: str

    def __len__(self) -> int:
        return len(self.indices)

    @property
    def k(self) -> int:
        """Number of neighbors per image."""
        return int(self.indices.shape[1])

    def nearest(self, k: int) -> "Neighbors":
        """Return the k nearest neighbors of each image, or all if there are no more."""
        if k >= self.k:
            return self
        columns = {name: getattr(self, name)[:, :k] for name in ("similarity", "indices", "distance")}
        return replace(self, **columns, summary={**self.summary, "k": k})

    def blocks(self) -> Iterator[slice]:
        """Return slices of images with at most `NEIGHBORS_PER_BLOCK` neighbors each, so that memory is limited."""
        step = max(1, NEIGHBORS_PER_BLOCK // max(1, self.k))
        return (slice(start, min(start + step, len(self))) for start in range(0, len(self), step))


@dataclass(frozen=True, slots=True)
class Pairs:
    """Directed pairs of images.

    Attributes:
        source: (m,) int64 indices of images.
        target: (m,) int64 indices of images.
        value: (m,) float64 similarities or distances, with 6 decimals.
        less_is_closer: Whether the values are distances.
    """

    source: "IntArray"
    target: "IntArray"
    value: "DoubleArray"
    less_is_closer: bool = False

    def __len__(self) -> int:
        return len(self.value)

    def select(self, which: "BoolArray | IntArray") -> "Pairs":
        """Return some of the pairs.

        Args:
            which: (m,) bool mask, or int64 indices of pairs.
        """
        return replace(self, source=self.source[which], target=self.target[which], value=self.value[which])
