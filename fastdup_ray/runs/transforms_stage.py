"""Transforms stage: find images that are others mirrored or rotated (`invariant`), as plain functions over a work_dir.

The embeddings of an image's transforms are stored side by side, as one row of `turned_features.dat`. Each of them is
searched in the index of the images as they are.
"""

from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fastdup_ray.analysis.pairs import find_cosines, rank_names
from fastdup_ray.common import csv_columns, layout
from fastdup_ray.common.arrays import BoolArray, DoubleArray, IntArray
from fastdup_ray.common.facts import RunSummary, TransformSummary
from fastdup_ray.common.layout import INDEXED, TRANSFORMED
from fastdup_ray.common.records import Neighbors
from fastdup_ray.config import RunConfig
from fastdup_ray.extract.transforms import select_transforms
from fastdup_ray.features import map_names
from fastdup_ray.neighbors import make_index
from fastdup_ray.neighbors.metrics import to_score
from fastdup_ray.neighbors.neighbor_files import StoredNeighbors
from fastdup_ray.neighbors.search import SPARE, check_unit_length, find_neighbors_of
from fastdup_ray.outputs.summary import write_summary
from fastdup_ray.storage import Store
from fastdup_ray.storage.csv_files import write_csv
from fastdup_ray.storage.feature_rows import map_whole


class _TransformPairs(NamedTuple):
    """m pairs of a transformed image and another image.

    Attributes:
        source: (m,) index of the transformed image in turned_features.dat.
        target: (m,) index of the other image in features.dat.
        value: (m,) of the metric.
        transform: (m,) index of the transform.
    """

    source: IntArray
    target: IntArray
    value: DoubleArray
    transform: IntArray

    def select(self, chosen: BoolArray | IntArray) -> "_TransformPairs":
        return _TransformPairs(self.source[chosen], self.target[chosen], self.value[chosen], self.transform[chosen])


def write_transforms(
    store: Store, config: RunConfig, neighbors: StoredNeighbors, d: int, facts: RunSummary
) -> TransformSummary:
    """Search the transforms of each image among the others, and write similarity_invariant.csv.

    Args:
        store: The work_dir.
        config: Of the run.
        neighbors: Of the images as they are. What is a pair by them is not reported again.
        d: Numbers of an embedding in features.dat.
        facts: Of the features of the transforms.
    """
    transforms = select_transforms(config.invariant)
    write_summary(store, facts, TRANSFORMED)
    names, sources = (map_names(store, files.name(layout.FEATURES_CSV)) for files in (INDEXED, TRANSFORMED))
    own = pc.fill_null(pc.index_in(sources, names), -1).to_numpy(zero_copy_only=False)
    embeddings = check_unit_length(map_whole(store, layout.FEATURES, d))
    transformed = map_whole(store, TRANSFORMED.name(layout.FEATURES), d * len(transforms))
    index = make_index(config, neighbors.get_plan(), config.cores)
    index.restore(embeddings, store.fetch(layout.FAISS_INDEX))
    if config.compute == "gpu":
        index.to_gpu(config.nearest_neighbors_k + 1 + SPARE)
    plain, recall = neighbors.open(store), 1.0
    parts: list[_TransformPairs] = []
    for transform in range(len(transforms)):
        queries = check_unit_length(np.ascontiguousarray(transformed[:, transform * d : (transform + 1) * d]))
        # One neighbor more than asked for: a transform may be most similar to the image itself.
        nearest = find_neighbors_of(index, embeddings, queries, config.nearest_neighbors_k + 1)
        recall = min(recall, nearest.summary["recall"])
        parts.append(_find_new_pairs(nearest, plain, own, config.threshold, transform))
    pairs = _select_closest(_concatenate(parts), neighbors.metric, sources, names)
    ends = sources.take(pa.array(pairs.source)), names.take(pa.array(pairs.target))
    columns = [*ends, pairs.value, pa.array(transforms).take(pa.array(pairs.transform))]
    write_csv(store, layout.INVARIANT_CSV, csv_columns.INVARIANT_HEADER, columns)
    distinct = np.unique(np.sort(np.stack([own[pairs.source], pairs.target]), axis=0), axis=1).shape[1]
    return {"turns": transforms, "pairs": len(pairs.value), "distinct_pairs": distinct, "recall": recall}


def _concatenate(parts: list[_TransformPairs]) -> _TransformPairs:
    return _TransformPairs(*map(np.concatenate, zip(*parts, strict=True)))


def _find_new_pairs(
    nearest: Neighbors, plain: Neighbors, own: IntArray, threshold: float, transform: int
) -> _TransformPairs:
    """Return the pairs of one transform above the threshold, without the image itself and its plain pairs.

    own: (n,) index in features.dat of each transformed image, -1 for none.
    """
    none = np.empty(0, np.int64)
    blocks = [_TransformPairs(none, none, np.empty(0, np.float64), none)]
    for part in nearest.blocks():
        row, rank = np.nonzero(nearest.similarity[part] > threshold)
        source, target = row + part.start, nearest.indices[part][row, rank]
        image = own[source]
        known = (image == target) | (image < 0)  # below 0: it could be read only now, so the next run finds its pairs
        for one, other in ((image, target), (target, image)):
            known |= find_cosines(plain, one, other) > threshold
        value = nearest.distance[part][row, rank]
        blocks.append(_TransformPairs(source, target, value, np.full(len(row), transform)).select(~known))
    return _concatenate(blocks)


def _select_closest(pairs: _TransformPairs, metric: str, sources: pa.Array, targets: pa.Array) -> _TransformPairs:
    """Return each pair with its best transform, the closest pair first, then by the bytes of the names."""
    value = -to_score(pairs.value, metric)
    pairs = pairs.select(np.lexsort((pairs.transform, value, pairs.target, pairs.source)))
    repeated = (pairs.source[1:] == pairs.source[:-1]) & (pairs.target[1:] == pairs.target[:-1])
    pairs = pairs.select(np.concatenate([[True], ~repeated])[: len(pairs.value)])
    value = -to_score(pairs.value, metric)
    ranks = rank_names(targets)[pairs.target], rank_names(sources)[pairs.source]
    return pairs.select(np.lexsort((*ranks, value)))
