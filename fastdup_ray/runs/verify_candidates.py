"""Which pairs of images are compared in full detail."""

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fastdup_ray.analysis.edges import build_edges
from fastdup_ray.analysis.keepers import DEFAULT_RULES, Ranking, add_losses, parse_rules
from fastdup_ray.analysis.pairs import find_cosines
from fastdup_ray.analysis.sorting import drop_repeats, sort_blocks, split_by_group
from fastdup_ray.analysis.union_find import label_components
from fastdup_ray.analysis.verified_pairs import VerifiedPairs
from fastdup_ray.common.arrays import BoolArray, DoubleArray, EmbeddingArray, IntArray
from fastdup_ray.common.mapped_arrays import make_array, write_and_map
from fastdup_ray.common.records import Neighbors
from fastdup_ray.common.relations import Relation
from fastdup_ray.common.scratch import Scratch
from fastdup_ray.neighbors.metrics import COSINE, compute_pair_values
from fastdup_ray.outputs.images import Images
from fastdup_ray.storage.tables import ROWS_PER_BLOCK, map_table, take_rows

CANDIDATES = pa.schema(
    [("from", pa.int64()), ("to", pa.int64()), ("similarity", pa.float64()), ("contents", pa.large_string())]
)
"""Columns of the pairs to compare, as in `VERIFIED`."""


def select_neighbors(
    images: Images, features: EmbeddingArray, neighbors: Neighbors, least: float, recipe: str
) -> pa.Table:
    """Select neighbors that are more similar than `least`.

    Frames of videos, and images whose bytes are not known, are left out.

    Args:
        images: The n images.
        features: Their (n, d) embeddings.
        neighbors: Of all of them.
        least: Lowest similarity, exclusive.
        recipe: What verdicts depend on besides the bytes of both files.

    Returns:
        Table of `CANDIDATES`, mapped from a file: pairs of images with different bytes. Of images with the same bytes,
        only the first is listed.
    """
    n, first, scratch = len(images), images.first_of_bytes, images.scratch
    edges = build_edges(neighbors, least, np.broadcast_to(np.int64(-1), n), scratch)
    is_file = images.entries["fps"].is_null().to_numpy()

    def encode() -> Iterator[IntArray]:
        for low, high, _ in edges.blocks():
            one, other = first[low], first[high]
            wanted = (one >= 0) & (other >= 0) & (one != other) & is_file[one] & is_file[other]
            yield np.minimum(one, other)[wanted] * n + np.maximum(one, other)[wanted]

    def list_pairs() -> Iterator[pa.Table]:
        for keys in drop_repeats(sort_blocks(encode(), scratch)):
            low, high = np.divmod(keys, n)
            similarity = np.maximum(find_cosines(neighbors, low, high), find_cosines(neighbors, high, low))
            by_copies = np.flatnonzero(similarity <= least)  # others with their bytes are neighbors
            similarity[by_copies] = compute_pair_values(features, low[by_copies], high[by_copies], COSINE)
            yield _order_by_digest(images, low, high, similarity, recipe)

    return map_table(list_pairs(), CANDIDATES, scratch())


def select_keepers(images: Images, features: EmbeddingArray, verified: pa.Table, recipe: str) -> pa.Table:
    """Select what no neighbor has shown: an image of a group, and the one that a plan would keep of that group.

    An image has a limited number of neighbors, and a group of duplicates may have more members. In memory are the
    members of some groups, or of the largest.

    Args:
        images: The n images.
        features: Their (n, d) embeddings.
        verified: The verdicts so far, a table of `VERIFIED`.
        recipe: See `select_neighbors`.

    Returns:
        The same as `select_neighbors`.
    """
    n, first, scratch = len(images), images.first_of_bytes, images.scratch
    label = label_components(_iter_same(verified), n, scratch)
    count = make_array(n, np.int32, scratch)
    for start in range(0, n, ROWS_PER_BLOCK):
        np.add.at(count, label[start : start + ROWS_PER_BLOCK], 1)
    known = _list_known(verified, n, scratch)
    table = add_losses(_add_references(images), VerifiedPairs(verified, first, first))
    rules = parse_rules(DEFAULT_RULES)

    def encode() -> Iterator[IntArray]:
        """Yield the groups of three or more and their members, and the images with the bytes of a member."""
        for start in range(0, n, ROWS_PER_BLOCK):
            content = first[start : start + ROWS_PER_BLOCK]
            row = np.flatnonzero(content >= 0)
            group = label[content[row]].astype(np.int64)
            wanted = count[group] > 2
            yield group[wanted] * n + start + row[wanted]

    def list_pairs() -> Iterator[pa.Table]:
        for keys in split_by_group(sort_blocks(encode(), scratch), n):
            group, rows = np.divmod(keys, n)
            by_row = np.argsort(rows)
            ranking = Ranking(rules, table, images.names, rows[by_row])
            order = by_row[ranking.order_groups(np.arange(len(rows)), group[by_row])]
            is_keeper = np.diff(group[order], prepend=-1) > 0
            keeper = first[rows[order[is_keeper]]][np.cumsum(np.diff(group, prepend=-1) > 0) - 1]
            wanted = (first[rows] == rows) & (keeper != rows)
            low, high = np.minimum(keeper, rows)[wanted], np.maximum(keeper, rows)[wanted]
            new = ~_contains(known, low * n + high)
            low, high = low[new], high[new]
            yield _order_by_digest(images, low, high, compute_pair_values(features, low, high, COSINE), recipe)

    return map_table(list_pairs(), CANDIDATES, scratch())


def order_by_group(pairs: pa.Table, rows: IntArray, n: int, scratch: Scratch) -> IntArray:
    """Order pairs so that those that are connected, over any number of steps, stand together.

    Args:
        pairs: Table of `CANDIDATES`.
        rows: (m,) int64 ascending rows of the pairs to order.
        n: Number of images.
        scratch: Opens a temporary file.

    Returns:
        (m,) int64, the rows in that order, mapped from a file.
    """

    def list_ends() -> Iterator[tuple[IntArray, IntArray]]:
        for start in range(0, len(rows), ROWS_PER_BLOCK):
            some = take_rows(pairs.select(["from", "to"]), rows[start : start + ROWS_PER_BLOCK])
            yield some["from"].to_numpy(), some["to"].to_numpy()

    label, starts = label_components(list_ends(), n, scratch), range(0, len(rows), ROWS_PER_BLOCK)
    keys = (
        label[source].astype(np.int64) * len(pairs) + rows[start : start + ROWS_PER_BLOCK]
        for start, (source, _) in zip(starts, list_ends(), strict=True)
    )
    return write_and_map((block % len(pairs) for block in sort_blocks(keys, scratch)), np.int64, scratch())


def _iter_same(verified: pa.Table) -> Iterator[tuple[IntArray, IntArray]]:
    for batch in verified.select(["from", "to", "relation"]).to_batches():
        same = batch.filter(pc.equal(batch["relation"], Relation.SAME.value))
        yield same["from"].to_numpy(), same["to"].to_numpy()


def _list_known(verified: pa.Table, n: int, scratch: Scratch) -> IntArray:
    """Return (r,) int64, sorted: low * n + high of the pairs that have a verdict."""

    def encode() -> Iterator[IntArray]:
        for batch in verified.select(["from", "to"]).to_batches():
            ends = batch["from"].to_numpy(), batch["to"].to_numpy()
            yield np.minimum(*ends) * n + np.maximum(*ends)

    return write_and_map(sort_blocks(encode(), scratch), np.int64, scratch())


def _contains(known: IntArray, keys: IntArray) -> BoolArray:
    """Return whether each of some keys is among sorted ones."""
    found: BoolArray = np.searchsorted(known, keys) < np.searchsorted(known, keys, "right")
    return found


def _add_references(images: Images) -> pa.Table:
    return images.entries if images.reference is None else images.entries.append_column("reference", images.reference)


def _order_by_digest(images: Images, low: IntArray, high: IntArray, similarity: DoubleArray, recipe: str) -> pa.Table:
    """Return a table of `CANDIDATES`; first comes the image with the lower digest, so that names decide no verdict."""
    digests = images.entries.select(["sha256"])
    first, second = (
        pc.utf8_slice_codeunits(take_rows(digests, rows)["sha256"].combine_chunks().cast(pa.large_string()), 0, 32)
        for rows in (low, high)
    )
    swap = pc.greater(first, second)
    ends = pc.if_else(swap, second, first), pc.if_else(swap, first, second)
    contents = pc.binary_join_element_wise(
        pa.scalar(recipe, pa.large_string()), *ends, pa.scalar(" ", pa.large_string())
    )
    swapped = swap.to_numpy(zero_copy_only=False)
    return pa.table([np.where(swapped, high, low), np.where(swapped, low, high), similarity, contents], CANDIDATES)
