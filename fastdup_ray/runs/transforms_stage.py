"""`invariant`: pictures that are others mirrored or turned, as plain functions over the work_dir of run mode 0.

The rows of a picture's turns stand side by side in one row of `turned_features.dat`, a feature set like any other. Each
is looked for in the index of the pictures as they are.
"""

from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fastdup_ray.analysis.pairs import find_cosines, rank_names
from fastdup_ray.common import layout
from fastdup_ray.common.layout import INDEXED, TRANSFORMED
from fastdup_ray.common.records import Neighbors
from fastdup_ray.config import RunConfig
from fastdup_ray.errors import ConfigError, WorkDirError
from fastdup_ray.extract.transforms import select_transforms
from fastdup_ray.features import map_features, map_names
from fastdup_ray.neighbors import make_index
from fastdup_ray.neighbors.metrics import to_score
from fastdup_ray.neighbors.neighbor_files import StoredNeighbors
from fastdup_ray.neighbors.search import SPARE, check_unit_length, find_neighbors_of
from fastdup_ray.neighbors.search_plan import SearchPlan
from fastdup_ray.runs.steps import write_summary
from fastdup_ray.storage import Store
from fastdup_ray.storage.tables import write_csv


class _TransformPairs(NamedTuple):
    """m pairs: source, a row of the turned features; target, one of the others; value, of the metric; turn."""

    source: np.ndarray
    target: np.ndarray
    value: np.ndarray
    transform: np.ndarray

    def select(self, wanted: np.ndarray) -> "_TransformPairs":
        return _TransformPairs(*(column[wanted] for column in self))


def check_transforms(config: RunConfig, store: Store, plan: SearchPlan) -> None:
    """Raises `ConfigError` where the turns of n pictures would be looked for, and there is no index to do it with;
    `WorkDirError` where features of somebody's own would be replaced.
    """
    if not config.invariant:
        return
    ours = any(store.exists(TRANSFORMED.name(name)) for name in (layout.SUMMARY, layout.MERGED))
    if store.exists(TRANSFORMED.name(layout.FEATURES)) and not ours:
        raise WorkDirError(
            f"{store.location!r} has a {TRANSFORMED.name(layout.FEATURES)} of your own, which invariant would replace; "
            "move it elsewhere."
        )
    if plan.partitioned:
        raise ConfigError(
            f"invariant={','.join(config.invariant)} needs an index, and {plan.n:,} images are searched in partitions: "
            "name one, such as faiss_mode='HNSW32'."
        )


def write_transforms(
    store: Store, config: RunConfig, neighbors: StoredNeighbors, d: int, facts: dict[str, Any]
) -> dict[str, Any]:
    """Looks for each picture's turns among the others, and writes similarity_invariant.csv; returns what to tell of it.

    neighbors: of the pictures as they are; what is a pair by them is none here. d: numbers of a row of features.dat.
    facts: of the turned features.
    """
    turns = select_transforms(config.invariant)
    write_summary(store, facts, TRANSFORMED)
    names, sources = (map_names(store, files.name(layout.FEATURES_CSV)) for files in (INDEXED, TRANSFORMED))
    own = pc.fill_null(pc.index_in(sources, names), -1).to_numpy(zero_copy_only=False)
    rows = check_unit_length(map_features(store, layout.FEATURES, d))
    turned = map_features(store, TRANSFORMED.name(layout.FEATURES), d * len(turns))
    index = make_index(config, neighbors.get_plan(), config.cores)
    index.restore(rows, store.fetch(layout.FAISS_INDEX))
    if config.compute == "gpu":
        index.to_gpu(config.nearest_neighbors_k + 1 + SPARE)
    plain, found, recall = neighbors.open(store), [], 1.0
    for turn in range(len(turns)):
        queries = check_unit_length(np.ascontiguousarray(turned[:, turn * d : (turn + 1) * d]))
        of_turn = find_neighbors_of(index, rows, queries, config.nearest_neighbors_k + 1)  # it may look like itself
        recall = min(recall, of_turn.summary["recall"])
        found.append(_find_new_pairs(of_turn, plain, own, config.threshold, turn))
    pairs = _select_closest(
        _TransformPairs(*map(np.concatenate, zip(*found, strict=True))), neighbors.metric, sources, names
    )
    ends = sources.take(pa.array(pairs.source)), names.take(pa.array(pairs.target))
    columns = [*ends, pairs.value, pa.array(turns).take(pa.array(pairs.transform))]
    write_csv(store, layout.INVARIANT_CSV, layout.INVARIANT_HEADER, columns)
    distinct = np.unique(np.sort(np.stack([own[pairs.source], pairs.target]), axis=0), axis=1).shape[1]
    return {"turns": turns, "pairs": len(pairs.value), "distinct_pairs": distinct, "recall": recall}


def _find_new_pairs(
    found: Neighbors, plain: Neighbors, own: np.ndarray, threshold: float, turn: int
) -> _TransformPairs:
    """Of one turn's neighbours those above the threshold, without the picture itself and what it is like anyway."""
    blocks = [_TransformPairs(*(np.empty(0, kind) for kind in (np.int64, np.int64, np.float64, np.int64)))]
    for part in found.blocks():
        row, place = np.nonzero(found.similarity[part] > threshold)
        source, target = row + part.start, found.indices[part][row, place]
        picture = own[source]
        known = (picture == target) | (picture < 0)  # below 0 is what could be read only now: the next run has it
        for one, other in ((picture, target), (target, picture)):
            known |= find_cosines(plain, one, other) > threshold
        blocks.append(
            _TransformPairs(source, target, found.distance[part][row, place], np.full(len(row), turn)).select(~known)
        )
    return _TransformPairs(*map(np.concatenate, zip(*blocks, strict=True)))


def _select_closest(pairs: _TransformPairs, metric: str, sources: pa.Array, targets: pa.Array) -> _TransformPairs:
    """Each pair by its best turn; the closest first, then by the bytes of the names."""
    value = -to_score(pairs.value, metric)
    pairs = pairs.select(np.lexsort((pairs.transform, value, pairs.target, pairs.source)))
    again = (pairs.source[1:] == pairs.source[:-1]) & (pairs.target[1:] == pairs.target[:-1])
    pairs = pairs.select(np.concatenate([[True], ~again])[: len(pairs.value)])
    value = -to_score(pairs.value, metric)
    ranks = rank_names(targets)[pairs.target], rank_names(sources)[pairs.source]
    return pairs.select(np.lexsort((*ranks, value)))
