"""Digests of embeddings, by which a search finds those that an earlier one had.

Names of images do not matter: neighbors depend on nothing but embeddings.
"""

import hashlib

import numpy as np
import numpy.typing as npt

from fastdup_ray.common.arrays import IntArray
from fastdup_ray.neighbors.partitioned.cell_files import ROOT, Cell, Piece, read_cell
from fastdup_ray.neighbors.partitioned.partition_layout import PartitionLayout
from fastdup_ray.storage import Store

DigestArray = npt.NDArray[np.uint64]
"""(n, 2): 16 bytes for each embedding."""

_BYTES = 16

DIGESTS_PER_PART = 1 << 20
"""About the number of digests that are compared at a time."""

READ = 1 << 20
"""Digests that are read at a time."""


def hash_block(
    store: Store,
    partitioning: PartitionLayout,
    number: int,
    threads: int,  # noqa: ARG001 (passed by the executor)
) -> None:
    """Write the digests of the embeddings in one block of the features."""
    start = number * partitioning.block
    count = min(partitioning.block, partitioning.n - start)
    embeddings = read_cell(store, partitioning, Cell(ROOT, (Piece(None, start, count),)))[0]
    digests = (hashlib.blake2b(row.data, digest_size=_BYTES).digest() for row in np.ascontiguousarray(embeddings))
    with store.create(format_digests_name(partitioning, number)) as path:
        path.write_bytes(b"".join(digests))


def map_digests(store: Store, partitioning: PartitionLayout) -> DigestArray:
    """Return what `hash_block` has written for all blocks, mapped from a scratch file."""
    with store.scratch() as file:
        for number in range(partitioning.blocks):
            file.write(store.fetch(format_digests_name(partitioning, number)).read_bytes())
        file.flush()
        return np.memmap(file, "<u8", "r", shape=(partitioning.n, 2))


def match_digests(digests: DigestArray, others: DigestArray) -> IntArray:
    """Find each digest among others; of equal ones, the first is the first there, and so on.

    In memory are 8 bytes for each digest, and a part of the digests.

    Args:
        digests: (n, 2).
        others: (m, 2).

    Returns:
        (n,) int64 index of the other one; -1 if there is none. No index is in it twice.
    """
    found = np.full(len(digests), -1)
    parts = max(len(digests), len(others)) // DIGESTS_PER_PART + 1
    for part in range(parts):
        ours, theirs = (_select_part(some, part, parts) for some in (digests, others))
        positions = np.concatenate([ours, theirs])
        is_theirs = np.arange(len(positions)) >= len(ours)
        keys = np.concatenate([_number_repeats(digests[ours]), _number_repeats(others[theirs])])
        order = np.lexsort((is_theirs, *keys.T))
        keys, is_theirs, positions = keys[order], is_theirs[order], positions[order]
        first = np.flatnonzero((keys[1:] == keys[:-1]).all(axis=1))  # of two equal keys; no three are equal
        found[positions[first]] = positions[first + 1]
    return found


def _select_part(digests: DigestArray, part: int, parts: int) -> IntArray:
    """Return the positions of the digests in one of some parts; equal ones are in one part."""
    chosen = [
        start + np.flatnonzero(digests[start : start + READ, 0] % np.uint64(parts) == part)
        for start in range(0, len(digests), READ)
    ]
    return np.concatenate([np.empty(0, np.int64), *chosen])


def _number_repeats(digests: DigestArray) -> npt.NDArray[np.uint64]:
    """Return digests with how many equal ones there are before each, (n, 3)."""
    order = np.lexsort((digests[:, 1], digests[:, 0]))  # equal ones stay in order
    ordered = digests[order]
    is_first = np.ones(len(digests), bool)
    is_first[1:] = (ordered[1:] != ordered[:-1]).any(axis=1)
    starts = np.flatnonzero(is_first)
    repeat = np.empty(len(digests), np.uint64)
    repeat[order] = np.arange(len(digests)) - np.repeat(starts, np.diff(starts, append=len(digests)))
    return np.column_stack([digests, repeat])


def format_digests_name(partitioning: PartitionLayout, number: int) -> str:
    """Return the name of the file with the digests of the embeddings in one block."""
    return f"{format_digests_folder(partitioning)}/{number:06d}.dat"


def format_digests_folder(partitioning: PartitionLayout) -> str:
    """Return the folder of these files."""
    return f"{partitioning.features_folder}/digests"
