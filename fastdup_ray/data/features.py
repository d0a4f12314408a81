"""From a stream of rows with embeddings to the feature files of a work_dir."""

from collections.abc import Iterable, Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fastdup_ray.common import layout
from fastdup_ray.common.arrays import BoolArray, FloatArray, IntArray
from fastdup_ray.common.facts import FeatureFacts
from fastdup_ray.common.records import ImageRef
from fastdup_ray.data.embed_batches import EMBEDDING, NAME
from fastdup_ray.errors import InputError
from fastdup_ray.features import write_range
from fastdup_ray.features.embedding_blocks import renumber
from fastdup_ray.inputs.manifest import ENTRIES, Manifest
from fastdup_ray.runs.preflight import make_list_facts
from fastdup_ray.storage import Store
from fastdup_ray.storage.tables import encode_names

EMBEDDINGS_PER_BLOCK = 16_384
"""Embeddings that are copied at a time."""


def write_features(store: Store, batches: Iterable[pa.Table], model: FeatureFacts) -> pa.Table:
    """Write the rows of a Dataset as a run of mode 1 would, by name, since they come in any order.

    The embeddings are kept in a file until all have come; the facts are kept in memory, about 200 bytes a row.

    Args:
        store: The work_dir.
        batches: What `EmbedBatches` returns with `facts_only`.
        model: `fingerprint` and `d` of the embeddings.

    Returns:
        The entries, by name, as a table of `manifest.ENTRIES`.

    Raises:
        InputError: There are no rows, or two have the same name.
    """
    with store.scratch() as file:
        tables = []
        for batch in batches:
            embeddings = batch[EMBEDDING].combine_chunks().to_numpy(zero_copy_only=False)
            file.write(np.ascontiguousarray(embeddings, "<f4").data)
            tables.append(batch.drop_columns([EMBEDDING]))
        if not tables:
            raise InputError("The Dataset has no rows.")
        file.flush()
        rows = pa.concat_tables(tables).combine_chunks()
        stored = np.memmap(file, "<f4", "r", shape=(len(rows), model["d"]))
        order = pc.sort_indices(rows[NAME]).to_numpy()
        rows = rows.take(pa.array(order))
        _refuse_repeats(rows[NAME])
        names = rows[NAME].to_pylist()
        entries = _name_entries(rows)
        manifest = Manifest.from_refs(
            map(ImageRef, names, entries["size"].to_pylist(), entries["mtime_or_etag"].to_pylist())
        )
        facts = make_list_facts(manifest) | model | {"min_offset": 0, "max_offset": len(names)}
        stem = layout.format_range_stem(0, len(names))
        is_good = entries["rows"].to_numpy() > 0
        write_range(store, stem, encode_names(names), entries, _iter_blocks(stored, order, is_good), facts)
        return entries


def _name_entries(rows: pa.Table) -> pa.Table:
    """Return entries that are called as their rows, with the digests of their bytes as tokens."""
    token = pc.fill_null(rows["sha256"], "")
    columns = {name: rows[name] for name in ENTRIES.names} | {"uri": rows[NAME], "mtime_or_etag": token}
    (entries,) = renumber([pa.table([columns[name] for name in ENTRIES.names], ENTRIES)])
    return entries


def _refuse_repeats(names: pa.ChunkedArray) -> None:
    """Raise `InputError` for sorted names of which two are equal."""
    names = names.combine_chunks()
    same = pc.equal(names[1:], names[:-1])
    if (position := pc.index(same, value=True).as_py()) >= 0:
        raise InputError(
            f"Two rows of the Dataset have the name {names[position].as_py()!r}: name another column with name=…, or "
            "have the rows numbered with number_rows=True."
        )


def _iter_blocks(stored: FloatArray, order: IntArray, is_good: BoolArray) -> Iterator[FloatArray]:
    good = order[is_good]
    for start in range(0, len(good), EMBEDDINGS_PER_BLOCK):
        yield stored[good[start : start + EMBEDDINGS_PER_BLOCK]]
