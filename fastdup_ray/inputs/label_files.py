"""Labels in files beside the images, in folders, buckets and archives: `sample.jpg` and `sample.cls` or `sample.txt`.

This is how tars of WebDataset keep what belongs to a sample, whose key is its name up to the first dot:
https://github.com/webdataset/webdataset.
"""

import json
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from os import fsdecode

import pyarrow as pa

from fastdup_ray.common.access import Access
from fastdup_ray.common.label_sources import LabelFile
from fastdup_ray.common.names import escape_non_utf8
from fastdup_ray.errors import BadImageError
from fastdup_ray.inputs import table_rows
from fastdup_ray.inputs.sources import find_part, read_entry, stat

LARGEST = 1 << 20
"""Bytes of the largest file that is read: a label is a word, a caption some sentences."""

LONGEST = 1000
"""Characters of a label; of a longer text, its beginning is the label."""

THREADS = 16
"""Files that are read at once: in a bucket, each is a request."""


def read_label_files(names: pa.Array | pa.ChunkedArray, source: LabelFile, access: Access) -> pa.Array:
    """Return the label of each image.

    Args:
        names: (n,) raw names of images.
        source: Which files have the labels.
        access: How buckets are accessed.

    Returns:
        (n,) large_string; null where there is no such file, it cannot be read, or it has no label.
    """
    with ThreadPoolExecutor(THREADS) as pool:
        labels = pool.map(lambda name: _read_label(fsdecode(name), source, access), names.to_pylist())
        return pa.array(labels, pa.large_string())


def _read_label(name: str, source: LabelFile, access: Access) -> str | None:
    if table_rows.split_row(name, access):
        return None  # a row has no files beside it
    for stem in _list_stems(find_part(name, access).file):
        ref = stat(stem + source.suffix, access)
        if not ref.mtime_or_etag or ref.size > LARGEST:
            continue
        try:
            return _find_label(read_entry(ref, access), source.field)
        except BadImageError:  # the file cannot be read
            return None
    return None


def _list_stems(name: str) -> Sequence[str]:
    """Return the name without its extension, and up to the first dot in its last part."""
    folder, separator, file = name.rpartition("/")
    stem = file[:1] + file[1:].partition(".")[0]
    return list(dict.fromkeys([os.path.splitext(name)[0], f"{folder}{separator}{stem}"]))


def _find_label(data: bytes, field: str | None) -> str | None:
    text = data.decode("utf-8-sig", "surrogateescape")
    if field is not None:
        text = _get_field(text, field)
    return escape_non_utf8(" ".join(text.split())[:LONGEST]) or None


def _get_field(text: str, field: str) -> str:
    """Return the value of a field of a JSON object: a text as it is, all else as JSON; "" if it is not there."""
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        return ""
    value = content.get(field) if isinstance(content, dict) else None
    if value is None or isinstance(value, str):
        return value or ""
    return json.dumps(value, ensure_ascii=False)
