"""Which pairs of images are compared in full detail."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fastdup_ray.analysis.edges import build_edges_from_neighbors
from fastdup_ray.analysis.keepers import DEFAULT_RULES, Ranking, add_losses, parse_rules
from fastdup_ray.analysis.verified_pairs import VerifiedPairs
from fastdup_ray.common.arrays import DoubleArray, IntArray
from fastdup_ray.common.relations import Relation
from fastdup_ray.neighbors.metrics import COSINE, compute_values
from fastdup_ray.neighbors.neighbor_files import StoredNeighbors
from fastdup_ray.outputs.images import Images
from fastdup_ray.storage import Store
from fastdup_ray.storage.feature_rows import map_features
from fastdup_ray.storage.tables import take_rows


@dataclass(frozen=True)
class Candidates:
    """m pairs of images with different bytes; of images with the same bytes, only the first is listed.

    Attributes:
        source: (m,) int64 index of the image with the lower digest, so that a verdict does not depend on names.
        target: (m,) int64 index of the other one.
        similarity: (m,) float64.
        contents: (m,) the recipe of verdicts and the beginnings of both digests, as one text.
    """

    source: IntArray
    target: IntArray
    similarity: DoubleArray
    contents: pa.Array

    def __len__(self) -> int:
        return len(self.source)


def select_neighbors(store: Store, images: Images, neighbors: StoredNeighbors, least: float, recipe: str) -> Candidates:
    """Select neighbors that are more similar than `least`.

    Frames of videos, and images whose bytes are not known, are left out.
    """
    edges = build_edges_from_neighbors(neighbors.open(store), least, np.full(len(images), -1), store.scratch)
    first = images.first_of_bytes
    low, high = first[np.asarray(edges.low)], first[np.asarray(edges.high)]
    is_file = images.entries["fps"].is_null().to_numpy()
    wanted = (low >= 0) & (high >= 0) & (low != high) & is_file[low] & is_file[high]
    low, high = np.minimum(low, high)[wanted], np.maximum(low, high)[wanted]
    similarity = np.asarray(edges.similarity)[wanted]
    order = np.lexsort((-similarity, high, low))
    low, high, similarity = low[order], high[order], similarity[order]
    distinct = np.ones(len(low), bool)
    distinct[1:] = (low[1:] != low[:-1]) | (high[1:] != high[:-1])
    return _order_by_digest(images, low[distinct], high[distinct], similarity[distinct], recipe)


def select_keepers(
    store: Store, images: Images, features_file: str, d: int, verified: pa.Table, recipe: str
) -> Candidates:
    """Select what no neighbor has shown: an image of a group, and the one that a plan would keep of that group.

    An image has a limited number of neighbors, and a group of duplicates may have more members.

    Args:
        store: The work_dir.
        images: Its n images.
        features_file: Name of the features file.
        d: Width of an embedding.
        verified: The verdicts so far, a table of `VERIFIED`.
        recipe: See `Candidates`.
    """
    same = verified.filter(pc.equal(verified["relation"], Relation.SAME.value))
    group = _find_groups(same["from"].to_numpy(), same["to"].to_numpy(), len(images))
    members = np.flatnonzero(np.bincount(group, minlength=len(images))[group] > 2)
    first = images.first_of_bytes
    rows = np.flatnonzero(first >= 0)
    rows = rows[np.isin(first[rows], members)]  # also those with the bytes of a member
    table = add_losses(_add_references(images), VerifiedPairs(verified, first, first))
    ranking = Ranking(parse_rules(DEFAULT_RULES), table, images.names, rows)
    order = ranking.order_groups(np.arange(len(rows)), group[first[rows]])
    ordered = first[rows[order]]
    keeper = np.full(len(images), -1)
    keeper[group[ordered][::-1]] = ordered[::-1]  # the last one that is written is the first of its group
    source, target = keeper[group[members]], members
    known = verified["from"].to_numpy(), verified["to"].to_numpy()
    n = len(images)
    keys = np.concatenate([known[0] * n + known[1], known[1] * n + known[0]])
    wanted = (source != target) & ~np.isin(source * n + target, keys)
    low, high = np.minimum(source, target)[wanted], np.maximum(source, target)[wanted]
    features = map_features(store, features_file, d)
    similarity = compute_values(features[low], features, high[:, None], COSINE)[:, 0]
    return _order_by_digest(images, low, high, similarity, recipe)


def order_by_group(source: IntArray, target: IntArray, n: int) -> IntArray:
    """Return an order in which pairs that are connected, over any number of steps, stand together."""
    order: IntArray = np.lexsort((target, source, _find_groups(source, target, n)[source]))
    return order


def _find_groups(source: IntArray, target: IntArray, n: int) -> IntArray:
    """Return (n,) number of the component of each image."""
    if not len(source):
        return np.arange(n)
    from scipy.sparse import coo_array  # late: it takes a fifth of a second to import
    from scipy.sparse.csgraph import connected_components

    graph = coo_array((np.ones(len(source), np.int8), (source, target)), shape=(n, n))
    _, group = connected_components(graph, directed=False)
    return np.asarray(group, np.int64)


def _add_references(images: Images) -> pa.Table:
    return images.entries if images.reference is None else images.entries.append_column("reference", images.reference)


def _order_by_digest(images: Images, low: IntArray, high: IntArray, similarity: DoubleArray, recipe: str) -> Candidates:
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
    return Candidates(np.where(swapped, high, low), np.where(swapped, low, high), similarity, contents)
