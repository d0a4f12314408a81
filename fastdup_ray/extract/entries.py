"""The entries of the manifest that come from what was decoded, or from what went wrong."""

from collections.abc import Sequence

import numpy as np

from fastdup_ray.common.arrays import BoolArray, FloatArray
from fastdup_ray.common.records import Entry, ImageRef
from fastdup_ray.errors import BadImageError, ErrorCode
from fastdup_ray.extract.decode import DecodedImage


def make_good_entry(
    ref: ImageRef, sha256: str, image: DecodedImage, rows: int, fps: float | None = None, decoder: str | None = None
) -> Entry:
    """Return the entry of an image, a video or a frame, without statistics.

    Args:
        ref: The entry as it was listed.
        sha256: Digest of its bytes.
        image: The image, or the first frame.
        rows: Number of embeddings.
        fps: Frames per second that the embeddings of a video are of.
        decoder: What decoded it, if not Pillow alone.
    """
    return Entry(
        ref.uri,
        ref.size,
        ref.mtime_or_etag,
        sha256=sha256,
        width=image.width,
        height=image.height,
        format=image.format,
        rows=rows,
        fps=fps,
        decoder=decoder,
        taken=image.taken,
    )


def make_bad_entry(ref: ImageRef, error: BadImageError, sha256: str | None = None) -> Entry:
    """Return the entry of a bad image, with the code and the message of `error`."""
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


def reject_non_finite(entries: Sequence[Entry], embeddings: FloatArray) -> tuple[list[Entry], FloatArray]:
    """Make entries bad if an embedding of theirs is NaN, and drop their embeddings.

    Args:
        entries: The entries, good and bad.
        embeddings: (n, d) float32, those of the good entries in order.

    Returns:
        All entries, and the embeddings that are left.
    """
    is_lost: BoolArray = np.any(np.isnan(embeddings), axis=1)
    if not is_lost.any():
        return list(entries), embeddings
    checked, is_kept, first = [], np.ones(len(embeddings), bool), 0
    for entry in entries:
        own = slice(first, first := first + entry.rows)
        if is_lost[own].any():
            is_kept[own] = False
            entry = _make_rejected_entry(entry)
        checked.append(entry)
    return checked, embeddings[is_kept]


def _make_rejected_entry(entry: Entry) -> Entry:
    error = BadImageError(ErrorCode.UNSUPPORTED, "the model's output has no direction: all zeros, NaN or infinite")
    return Entry(
        entry.uri,
        entry.size,
        entry.mtime_or_etag,
        sha256=entry.sha256,
        width=entry.width,
        height=entry.height,
        format=entry.format,
        fps=entry.fps,
        decoder=entry.decoder,
        error_code=error.code,
        error_message=error.message,
    )
