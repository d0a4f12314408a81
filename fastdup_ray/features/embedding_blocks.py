"""Read the embeddings of the entries of a list, wherever they are, in the order of the list."""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import pyarrow as pa

from fastdup_ray.common.arrays import FloatArray, IntArray
from fastdup_ray.features.lookup import LookupResult
from fastdup_ray.features.stored_embeddings import EmbeddingReader, StoredEmbeddings
from fastdup_ray.inputs.manifest import ENTRIES
from fastdup_ray.storage.feature_parts import join_runs
from fastdup_ray.storage.feature_rows import BYTES_PER_BLOCK


def iter_embedding_blocks(lookup: LookupResult) -> Iterator[FloatArray]:
    """Read the embeddings of all good entries, in the order of the list.

    Each file is read once for a block, since the entries of many files may alternate in the list.

    Args:
        lookup: Where the embeddings of the entries are.

    Yields:
        (b, d) float32, of at most `BYTES_PER_BLOCK` bytes.

    Raises:
        LostEmbeddingsError: A file with embeddings is gone.
    """
    with EmbeddingReader() as reader:
        for block in lookup.located_blocks():
            yield from _read_blocks(reader, lookup.files, *join_runs(block.file, block.first, block.count))


def _read_blocks(
    reader: EmbeddingReader, files: Sequence[StoredEmbeddings], source: IntArray, first: IntArray, count: IntArray
) -> Iterator[FloatArray]:
    """Read runs of embeddings one after the other, see `join_runs` and `iter_embedding_blocks`."""
    stops = np.cumsum(count)
    if len(stops) == 0:
        return
    total, d = int(stops[-1]), files[0].shape[1]
    size = max(1, BYTES_PER_BLOCK // (4 * d))
    for start in range(0, total, size):
        block = np.empty((min(size, total - start), d), "<f4")
        low, high = np.searchsorted(stops, (start, start + len(block) - 1), "right")
        runs = low + np.argsort(source[low : high + 1], kind="stable")
        begins = stops[runs] - count[runs] - start
        reader.prepare(files[file] for file in np.unique(source[runs]))
        bounds = np.stack([begins.clip(0), (stops[runs] - start).clip(max=len(block))], axis=1)
        indices = first[runs] + bounds[:, 0] - begins
        for file, index, part in zip(source[runs].tolist(), indices.tolist(), bounds.tolist(), strict=True):
            reader.read(files[file], index, block[slice(*part)])
        yield block


def renumber(blocks: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """Yield tables `ENTRIES` with `first_row` counted from 0 over all of them."""
    total = 0
    for entries in blocks:
        count = entries["rows"].to_numpy().astype(np.int64)
        first = pa.array(total + np.cumsum(count) - count, pa.int64(), mask=count == 0)
        total += int(count.sum())
        yield entries.set_column(ENTRIES.get_field_index("first_row"), "first_row", first)
