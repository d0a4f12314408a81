"""The names of entries and of their embeddings: features.dat.csv, and the lists of bad images."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fastdup_ray.common import csv_columns
from fastdup_ray.common.arrays import IntArray, split_array
from fastdup_ray.common.mapped_arrays import write_and_map_columns
from fastdup_ray.common.scratch import Scratch
from fastdup_ray.errors import DamagedError
from fastdup_ray.features.match_keys import match_keys
from fastdup_ray.inputs.manifest import ENTRIES
from fastdup_ray.inputs.video import format_frame_suffix, get_frame_time, hash_frame
from fastdup_ray.storage import Store
from fastdup_ray.storage.csv_files import iter_csv, open_csv, read_csv
from fastdup_ray.storage.tables import ROWS_PER_BLOCK, describe_other_run, map_texts

Names: TypeAlias = pa.Array | pa.ChunkedArray
"""(n,) paths and URIs as raw bytes (`large_binary`)."""

_NAMES = pa.large_binary()


def write_names(store: Store, name: str, blocks: Iterable[Names]) -> None:
    """Write the CSV file with the names of embeddings, block by block: `index,filename`."""
    start = 0
    with open_csv(store, name, csv_columns.FEATURES_HEADER) as write:
        for names in blocks:
            write([np.arange(start, start + len(names)), names])
            start += len(names)


def read_names(path: Path) -> pa.ChunkedArray:
    """Read the names of embeddings from a CSV file that `write_names` wrote.

    Returns:
        (n,) names as raw bytes.

    Raises:
        DamagedError: It has another header, or its indices do not count from 0.
    """
    table = read_csv(path, csv_columns.FEATURES_HEADER)
    _check_count(path, table["index"], 0)
    return table["filename"].cast(pa.large_binary())


def _check_count(path: Path, index: pa.Array | pa.ChunkedArray, start: int) -> None:
    expected = pa.array(np.arange(start, start + len(index))).cast(pa.large_string()).cast(index.type)
    if not index.equals(pa.chunked_array([expected]) if isinstance(index, pa.ChunkedArray) else expected):
        raise DamagedError(f"{path} is damaged: its column index does not count up from 0.")


def map_names(store: Store, name: str) -> pa.LargeBinaryArray:
    """Read the names of embeddings as `read_names` does, but keep them in unnamed files that are mapped into memory.

    Args:
        store: The work_dir.
        name: The CSV file.

    Returns:
        (n,) names as raw bytes.

    Raises:
        DamagedError: It has another header, or its indices do not count from 0.
    """
    path, n = store.fetch(name), 0

    def iter_blocks() -> Iterator[pa.Array]:
        nonlocal n
        for block in iter_csv(path, csv_columns.FEATURES_HEADER):
            _check_count(path, block["index"], n)
            n += len(block)
            yield block["filename"]

    return map_texts(iter_blocks(), store.scratch)


def find_names(names: pa.Array, among: pa.Array, scratch: Scratch) -> IntArray:
    """Find names among others, in limited memory.

    Args:
        names: (n,) raw names, which may be mapped from a file.
        among: (m,) raw names, each once, which may be mapped, too.
        scratch: Opens an empty file.

    Returns:
        (n,) int64 index in `among` of each; -1 where it is not there.
    """
    return match_keys((table for _, table in _iter_numbered(names)), _iter_numbered(among), len(names), scratch)


def _iter_numbered(names: pa.Array) -> Iterator[tuple[IntArray, pa.Table]]:
    """Yield the indices of names, and a table of them, block by block."""
    for rows in split_array(np.arange(len(names)), ROWS_PER_BLOCK):
        yield rows, pa.table({"uri": names.slice(rows[0], len(rows))})


def find_images(
    path: Path, header: Sequence[str], columns: Sequence[str], names: pa.Array, scratch: Scratch
) -> tuple[IntArray, ...]:
    """Find the images that a CSV file names, in limited memory.

    Args:
        path: The file, with m rows.
        header: Its columns.
        columns: Those with names of images.
        names: (n,) raw names of all images, each once; they may be mapped from a file.
        scratch: Opens an empty file.

    Returns:
        (m,) int64 indices in `names`, for each of `columns`, mapped from a temporary file.

    Raises:
        DamagedError: The file is damaged, or a name is that of no image.
    """
    counts: list[int] = []

    def list_names() -> Iterator[pa.Table]:
        for block in iter_csv(path, header):
            counts.append(len(block))
            yield pa.table({"uri": pa.chunked_array([block[name].cast(_NAMES) for name in columns])})

    images = match_keys(list_names(), _iter_numbered(names), len(names), scratch)
    if any((part < 0).any() for part in split_array(images, ROWS_PER_BLOCK)):
        raise describe_other_run(path)
    starts = len(columns) * np.cumsum([0, *counts])[:-1]
    blocks = (
        tuple(images[start : start + len(columns) * count].reshape(len(columns), count))
        for start, count in zip(starts.tolist(), counts, strict=True)
    )
    return write_and_map_columns(blocks, [np.int64] * len(columns), scratch)


def write_bad(store: Store, name: str, blocks: Iterable[tuple[Names, pa.Table]]) -> None:
    """Write the CSV file with the bad entries: `filename,error_code,message`.

    Args:
        store: The work_dir.
        name: The file.
        blocks: Names of entries, and the columns error_code and error_message of `ENTRIES`.
    """
    with open_csv(store, name, csv_columns.BAD_HEADER) as write:
        for uris, entries in blocks:
            bad = pc.is_valid(entries["error_code"])
            some = entries.filter(bad)
            write([uris.filter(bad), some["error_code"], some["error_message"]])


def name_embeddings(uris: Names, entries: pa.Table) -> Names:
    """Name each embedding after its entry; a frame of a video gets its time as a suffix.

    Args:
        uris: (m,) names of the entries.
        entries: m rows with the columns `ENTRIES`.

    Returns:
        (n,) names of the embeddings.
    """
    names = uris.take(_index_entries(entries))
    frames, times = _find_frames(entries)
    if len(frames) == 0:
        return names
    suffixes = np.full(len(names), b"", object)
    suffixes[frames] = [format_frame_suffix(time).encode() for time in times]
    return pc.binary_join_element_wise(names, pa.array(suffixes, names.type), pa.scalar(b"", names.type))


def expand_entries(entries: pa.Table) -> pa.Table:
    """Repeat each entry for each of its embeddings.

    A frame of a video gets a digest of its own, since two frames of one video are not exact duplicates.

    Args:
        entries: m rows with the columns `ENTRIES`.

    Returns:
        n rows with the columns `ENTRIES`, one for each embedding.
    """
    table = entries.take(_index_entries(entries))
    frames, times = _find_frames(entries)
    if len(frames) == 0:
        return table
    sha256 = np.array(table["sha256"].to_pylist(), object)
    sha256[frames] = [hash_frame(digest, time) for digest, time in zip(sha256[frames], times, strict=True)]
    return table.set_column(ENTRIES.get_field_index("sha256"), "sha256", pa.array(sha256, table["sha256"].type))


def _index_entries(entries: pa.Table) -> pa.Array:
    """Return, for each embedding, the index of its entry."""
    return pa.array(np.repeat(np.arange(entries.num_rows), entries["rows"].to_numpy()))


def _find_frames(entries: pa.Table) -> tuple[IntArray, list[int]]:
    """Return the indices of those embeddings that are frames of videos, and the time of each in milliseconds."""
    count, fps = entries["rows"].to_numpy(), pc.fill_null(entries["fps"], 0.0).to_numpy()
    first = np.cumsum(count) - count
    videos = np.flatnonzero((fps > 0) & (count > 0))
    frames = [np.arange(first[video], first[video] + count[video]) for video in videos]
    times = [get_frame_time(index, float(fps[video])) for video in videos for index in range(count[video])]
    return np.concatenate([np.empty(0, np.int64), *frames]), times
