"""Feature sets in parts: what a merge adds to them, and what it removes.

A part is a feature shard of many entries, so it can be read without the index, too. A merge writes the embeddings that
are not in a part yet to new parts, and refers to all others where they are.
"""

import numpy as np

from fastdup_ray.common import layout
from fastdup_ray.common.arrays import BoolArray, IntArray
from fastdup_ray.common.facts import FeatureFacts
from fastdup_ray.common.layout import FileSet
from fastdup_ray.features.embedding_blocks import iter_embedding_blocks, renumber
from fastdup_ray.features.lookup import LookupResult
from fastdup_ray.features.shard_file import make_stem, write_shard
from fastdup_ray.features.stored_embeddings import StoredEmbeddings
from fastdup_ray.storage import Store
from fastdup_ray.storage.feature_parts import FeaturePart, PartIndex, join_runs

PART_ROWS = 1 << 17
"""Embeddings of a part, at most: 300 MB of the embedded model's."""


def add_parts(store: Store, lookup: LookupResult, facts: FeatureFacts, files: FileSet) -> PartIndex:
    """Write the embeddings that are not in parts yet as new parts. Nothing is removed.

    Args:
        store: The work_dir.
        lookup: The entries, and where their embeddings are. No entry may be missing.
        facts: What describes the embeddings.
        files: Set of images, which decides the folder of the parts.

    Returns:
        Where each embedding is now.

    Raises:
        LostEmbeddingsError: A file with embeddings is gone.
    """
    folder = files.name(layout.FEATURE_PARTS)
    used = np.zeros(len(lookup.files), np.int64)
    for block in lookup.located_blocks():
        np.add.at(used, block.file, block.count)
    is_kept = _choose_kept([_is_part(file, store, folder) for file in lookup.files], lookup, used)
    kept = np.flatnonzero(is_kept)
    number = np.cumsum(is_kept) - 1
    new, runs = _NewParts(len(kept), int(used[~is_kept].sum())), [(np.empty(0, np.int64),) * 3]
    for block in lookup.located_blocks():
        part, first, is_new = number[block.file], block.first.copy(), ~is_kept[block.file]
        part[is_new], first[is_new] = new.add(block.offset[is_new], block.count[is_new])
        runs.append(join_runs(part, first, block.count))
    parts = [_describe(lookup.files[file]) for file in kept.tolist()]
    parts += [_write_part(store, folder, lookup.select(np.concatenate(part)), facts) for part in new.offsets]
    return PartIndex(facts["d"], tuple(parts), *join_runs(*map(np.concatenate, zip(*runs, strict=True))))


def remove_other_features(store: Store, files: FileSet, index: PartIndex | None) -> None:
    """Remove the files of embeddings that a merge has replaced.

    Args:
        store: The work_dir.
        files: Set of images, which decides the file names.
        index: The parts to keep; None if the embeddings are one file.
    """
    folder = files.name(layout.FEATURE_PARTS)
    there = list(store.names(folder))
    if index is not None:
        store.remove(files.name(layout.FEATURES))
    elif there:
        store.remove(files.name(layout.FEATURES_INDEX))  # first, since it refers to the others
    kept = {part.name for part in index.parts} if index else set()
    for name in there:
        if layout.parse_range(name) and name not in kept:
            store.remove(name)
    store.remove_if_empty(folder)


def _is_part(file: StoredEmbeddings, store: Store, folder: str) -> bool:
    return file.name.startswith(f"{folder}/") and file.store.location == store.location


def _choose_kept(is_part: list[bool], lookup: LookupResult, used: IntArray) -> BoolArray:
    """Choose the files that stay as they are: parts of which at least half is used.

    Small ones are joined with what is written anyway, as long as they are not larger: so there are few parts after many
    runs, and an embedding is rewritten as often as the number of runs has binary digits.

    used: how many embeddings of each file are wanted.
    """
    rows = np.array([len(file) for file in lookup.files], np.int64)
    kept: BoolArray = np.array(is_part, bool) & (used > 0) & (2 * used >= rows)
    written = int(used[~kept].sum())
    small = np.flatnonzero(kept & (2 * used < PART_ROWS))
    for file in small[np.argsort(used[small], kind="stable")].tolist():
        if used[file] > written:
            break
        kept[file] = False
        written += int(used[file])
    return kept


class _NewParts:
    """Divides entries among new parts of about the same size.

    Attributes:
        offsets: For each part, the offsets in the list of its entries, in blocks.
    """

    def __init__(self, first_number: int, rows: int) -> None:
        self.offsets: list[list[IntArray]] = []
        self._first_number, self._total = first_number, 0
        self._size = -(-rows // max(1, -(-rows // PART_ROWS)))
        self._starts = np.empty(0, np.int64)
        self._last = -1

    def add(self, offset: IntArray, count: IntArray) -> tuple[IntArray, IntArray]:
        """Add entries, and return for each the number of its part, and its first embedding in that."""
        rows = self._total + np.cumsum(count) - count
        self._total += int(count.sum())
        group = rows // max(1, self._size)
        begins = np.flatnonzero(np.diff(group, prepend=self._last))
        pieces = np.split(offset, begins)
        if len(pieces[0]):
            self.offsets[-1].append(pieces[0])
        self.offsets += [[piece] for piece in pieces[1:]]
        self._starts = np.append(self._starts, rows[begins])
        self._last = int(group[-1]) if len(group) else self._last
        part = np.searchsorted(self._starts, rows, "right") - 1
        return self._first_number + part, rows - self._starts[part]


def _describe(file: StoredEmbeddings) -> FeaturePart:
    return FeaturePart(file.name, file.offset, len(file), file.sha256)


def _write_part(store: Store, folder: str, lookup: LookupResult, facts: FeatureFacts) -> FeaturePart:
    (entries,) = renumber([lookup.entries])
    facts = facts | {"min_offset": 0, "max_offset": len(entries)}
    stem = make_stem(folder, entries, facts)
    return write_shard(store, stem, entries, iter_embedding_blocks(lookup), facts, new=False)
