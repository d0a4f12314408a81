"""The actor of a Ray Data pipeline that embeds batches of images, in a child process that a decoder may crash."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
from ray.data.extensions import ArrowTensorArray

from fastdup_ray.common.arrays import FloatArray
from fastdup_ray.common.records import Entry, ExtractedShard, ImageRef, Shard
from fastdup_ray.data.columns import RowColumns, make_ref
from fastdup_ray.errors import BadImageError
from fastdup_ray.executors.process_pool import ProcessPool
from fastdup_ray.extract.entries import make_bad_entry
from fastdup_ray.extract.extractor import ExtractSpec
from fastdup_ray.inputs.manifest import make_entries_table

EMBEDDING, CODE, MESSAGE = "embedding", "error_code", "error_message"
"""Columns that `embed` adds."""

NAME = "name"
"""Column of a table of facts with the name of the row, beside those of `manifest.ENTRIES`."""


class EmbedBatches:
    """Adds an embedding to each row, and what is wrong with a bad image.

    Args:
        columns: Of the Dataset.
        spec: How images are read.
        facts_only: Return name, facts and embedding of each row instead of the columns of the Dataset.
    """

    def __init__(self, columns: RowColumns, spec: ExtractSpec, *, facts_only: bool) -> None:
        self._columns, self._spec, self._facts_only = columns, spec, facts_only
        self._pool = ProcessPool(spec, 1, lambda: None)

    def __call__(self, batch: pa.Table) -> pa.Table:
        """Return the batch with the new columns, or the facts of its rows."""
        read = self._read([value.as_py() for value in batch[self._columns.image]])
        embeddings = ArrowTensorArray.from_numpy(_spread(read, self._spec.facts["d"]))
        if self._facts_only:
            names = [str(value) for value in batch[self._columns.name].to_pylist()]
            return (
                make_entries_table(read.entries)
                .append_column(NAME, pa.array(names, pa.large_string()))
                .append_column(EMBEDDING, embeddings)
            )
        codes = [entry.error_code for entry in read.entries]
        messages = [entry.error_message for entry in read.entries]
        batch = batch.append_column(EMBEDDING, embeddings)
        batch = batch.append_column(CODE, pa.array(codes, pa.string()))
        return batch.append_column(MESSAGE, pa.array(messages, pa.string()))

    def _read(self, values: list[object]) -> ExtractedShard:
        """Return an entry for each value, and the embeddings of the good ones."""
        entries: dict[int, Entry] = {}
        refs: dict[int, ImageRef] = {}
        for row, value in enumerate(values):
            try:
                refs[row] = make_ref(row, value, self._spec.access)
            except BadImageError as error:
                entries[row] = make_bad_entry(ImageRef(str(row), 0, ""), error)
        shard = Shard(0, len(refs), range(len(refs)), list(refs.values()))
        receipts = sorted(self._pool.run([shard] if refs else []), key=lambda receipt: receipt.start)
        parts = [receipt.extracted for receipt in receipts if receipt.extracted is not None]
        entries |= zip(refs, (entry for part in parts for entry in part.entries), strict=True)
        blocks = [part.embeddings for part in parts]
        return ExtractedShard(
            [replace(entries[row], uri=str(row)) for row in range(len(values))],
            np.concatenate([np.empty((0, self._spec.facts["d"]), np.float32), *blocks]),
        )


def _spread(read: ExtractedShard, d: int) -> FloatArray:
    """Return (n, d) float32: the embedding of each entry, NaN for a bad one."""
    embeddings = np.full((len(read.entries), d), np.nan, np.float32)
    embeddings[[bool(entry.rows) for entry in read.entries]] = read.embeddings
    return embeddings
