"""Feature sets of very many entries, made in little time: their names are numbers, and they share one features file."""

from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from fastdup_ray.features import FeatureSet, StoredEmbeddings, write_embeddings
from fastdup_ray.inputs.manifest import ENTRIES, ENTRIES_PER_PART, ListPart, Manifest
from fastdup_ray.storage import Store
from fastdup_ray.storage.parquet_files import write_parquet

DIGITS = 12


def texts(numbers: np.ndarray, width: int) -> pa.LargeStringArray:
    """The numbers with leading zeros."""
    digits = np.full((len(numbers), width), ord("0"), np.uint8)
    digits[:, -DIGITS:] += (numbers[:, None] // 10 ** np.arange(DIGITS)[::-1] % 10).astype(np.uint8)
    offsets = np.arange(len(numbers) + 1, dtype=np.int64) * width
    return pa.LargeStringArray.from_buffers(len(numbers), pa.py_buffer(offsets), pa.py_buffer(digits))


def write_planted(store: Store, count: int) -> StoredEmbeddings:
    """Write an embedding of one number for each entry."""
    with store.create("planted.dat") as path:
        sha256 = write_embeddings(path, [np.arange(count, dtype=np.float32)[:, None]])
    return StoredEmbeddings.check(store, "planted.dat", sha256, (count, 1))


def sets_of(embeddings: StoredEmbeddings, sets: int, width: int) -> Iterator[FeatureSet]:
    """Feature sets of as many entries as there are embeddings, in their order; width: bytes of a name."""
    for numbers in np.array_split(np.arange(len(embeddings)), sets):
        columns = {field.name: pa.nulls(len(numbers), field.type) for field in ENTRIES}
        columns |= {"uri": texts(numbers, width), "size": numbers, "sha256": texts(numbers, 64)}
        columns |= {"mtime_or_etag": pa.repeat(pa.scalar("1"), len(numbers)), "format": pa.repeat("JPEG", len(numbers))}
        columns |= {"first_row": numbers, "rows": np.ones(len(numbers), np.int32)}
        table = pa.table([pa.array(columns[field.name]).cast(field.type) for field in ENTRIES], ENTRIES)
        yield FeatureSet(table, {}, embeddings)


def manifest_of(store: Store, count: int, width: int) -> Manifest:
    """The entries from the last to the first, in parts."""
    parts = []
    for start in range(0, count, ENTRIES_PER_PART):
        numbers = np.arange(count)[::-1][start : start + ENTRIES_PER_PART]
        columns = [texts(numbers, width).cast(pa.large_binary()), numbers, ["1"] * len(numbers)]
        table = pa.table(
            columns,
            schema=pa.schema([("uri", pa.large_binary()), ("size", pa.int64()), ("mtime_or_etag", pa.large_string())]),
        )
        parts.append(ListPart(len(table), None, store, f"list/part-{len(parts):06d}.parquet"))
        write_parquet(store, parts[-1].name, table)
    return Manifest(parts)
