"""Parquet files, whose groups of rows can be read in any order."""

from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq


class ParquetTable:
    """A Parquet file; see `tables.Table`.

    Args:
        file: An open file, seekable. Only what is needed of it is read.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = pq.ParquetFile(file, pre_buffer=False)
        metadata = self._file.metadata
        counts = [metadata.row_group(number).num_rows for number in range(metadata.num_row_groups)]
        self.schema: pa.Schema = self._file.schema_arrow
        self.starts: Sequence[int] = list(accumulate(counts, initial=0))

    def iter_batches(self, group: int, columns: Sequence[str], size: int) -> Iterator[pa.RecordBatch]:
        """See `tables.Table`."""
        batches: Iterator[pa.RecordBatch] = self._file.iter_batches(
            size, row_groups=[group], columns=list(columns), use_threads=False
        )
        return batches
