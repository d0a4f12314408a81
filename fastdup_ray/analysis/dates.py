"""When images were taken or their files written: the date that the rule `oldest` goes by, and that people see."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fastdup_ray.common.arrays import IntArray

UNKNOWN = 1 << 62
"""The date of an image that has none: later than all others."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TEXT = pa.large_string()
_NANOSECONDS = r"^-?\d{1,18}$|^[1-8]\d{18}$"


def read_dates(images: pa.Table, names: pa.Array) -> IntArray:
    """Return when each image was taken according to its EXIF tags, else when its file was last changed.

    Args:
        images: The columns `taken` and `mtime_or_etag` of images.parquet; tables of earlier versions lack the first.
        names: (n,) raw names.

    Returns:
        (n,) int64 milliseconds since 1970 in UTC; `UNKNOWN` for objects in a bucket and members of archives without
        EXIF tags. A camera does not record its time zone, so the time that its clock showed is taken as UTC.
    """
    tokens = images["mtime_or_etag"].cast(_TEXT).combine_chunks()
    is_mtime = pc.and_(pc.match_substring_regex(tokens, _NANOSECONDS), pc.invert(pc.match_substring(names, "://")))
    nanoseconds = pc.if_else(is_mtime, tokens, pa.scalar(None, _TEXT)).cast(pa.int64())
    written: IntArray = pc.fill_null(nanoseconds, 0).to_numpy() // 1_000_000
    written[pc.is_null(nanoseconds).to_numpy(zero_copy_only=False)] = UNKNOWN
    if "taken" not in images.column_names:
        return written
    taken = pc.strptime(images["taken"].cast(_TEXT), "%Y-%m-%d %H:%M:%S", "ms", error_is_null=True).cast(pa.int64())
    dates: IntArray = np.where(taken.is_valid().to_numpy(), taken.fill_null(0).to_numpy(), written)
    return dates


def format_date(milliseconds: int) -> str:
    """Return a date of `read_dates` in a form for people, such as `2019-05-04 12:30:00`; "" if it is not known."""
    if milliseconds == UNKNOWN:
        return ""
    return (_EPOCH + timedelta(seconds=milliseconds // 1000)).strftime("%Y-%m-%d %H:%M:%S")
