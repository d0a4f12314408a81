"""Entries of a list as Arrow tables, which take a fifth of the memory of as many `ImageRef`."""

from collections.abc import Iterable, Iterator
from os import fsdecode, fsencode

import pyarrow as pa
import pyarrow.compute as pc

from fastdup_ray.common.batches import LARGEST_BATCH, make_batches
from fastdup_ray.common.records import ImageRef

REFS = pa.schema([("uri", pa.large_binary()), ("size", pa.int64()), ("mtime_or_etag", pa.large_string())])
"""The attributes of `ImageRef`; names are raw bytes."""


def make_ref_tables(refs: Iterable[ImageRef]) -> Iterator[pa.Table]:
    """Yield entries as tables `REFS`: small ones first, so that what needs few entries does not wait for many."""
    for some in make_batches(refs):
        columns = [[fsencode(ref.uri) for ref in some], [ref.size for ref in some], [ref.mtime_or_etag for ref in some]]
        yield pa.table(columns, schema=REFS)


def make_ref_table(refs: Iterable[ImageRef]) -> pa.Table:
    """Return entries as a table `REFS`."""
    return pa.concat_tables([REFS.empty_table(), *make_ref_tables(refs)])


def sort_refs(refs: Iterable[ImageRef]) -> pa.Table:
    """Return entries as a table `REFS`, sorted by the bytes of their names."""
    table = make_ref_table(refs).combine_chunks()
    return table.take(pc.sort_indices(table["uri"]))


def iter_refs(table: pa.Table) -> Iterator[ImageRef]:
    """Yield the entries of a table `REFS`."""
    for batch in table.to_batches(LARGEST_BATCH):
        for uri, size, token in zip(*(column.to_pylist() for column in batch.columns), strict=True):
            yield ImageRef(fsdecode(uri), size, token)
