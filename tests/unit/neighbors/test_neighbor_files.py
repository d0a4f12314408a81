"""Neighbours in files come back as they were, mapped; whatever dies on the way leaves none."""

import numpy as np
import pytest

from fastdup_ray.common import records
from fastdup_ray.common.layout import INDEXED, NEIGHBORS, SCORED
from fastdup_ray.common.records import Neighbors
from fastdup_ray.neighbors.neighbor_files import create_neighbors, store_neighbors
from fastdup_ray.storage import open_store
from tests.helpers.runs import files_below

ARRAYS = ("indices", "similarity", "distance")


def found(n: int, k: int, metric: str) -> Neighbors:
    random = np.random.default_rng(n + k)
    similarity = np.round(random.random((n, k)), 6)
    similarity[random.random((n, k)) < 0.2] = np.nan
    distance = similarity if metric == "cosine" else 1 - similarity
    return Neighbors(similarity, random.integers(-1, n, (n, k)), {"recall": 0.5}, distance, metric)


@pytest.mark.parametrize("metric", ["cosine", "manhattan"])
@pytest.mark.parametrize(("n", "k"), [(9, 2), (1, 0), (0, 2), (5, 7)])
@pytest.mark.parametrize("cells", [1, 5, 1 << 20])
def test_neighbours_come_back_as_they_were(tmp_path, monkeypatch, metric, n, k, cells):
    monkeypatch.setattr(records, "NEIGHBORS_PER_BLOCK", cells)
    store, expected = open_store(str(tmp_path)), found(n, k, metric)
    back = store_neighbors(store, expected).open(store)
    for name in ARRAYS:
        assert isinstance(getattr(back, name), np.memmap)
        np.testing.assert_array_equal(getattr(back, name), getattr(expected, name))
        assert getattr(back, name).dtype == getattr(expected, name).dtype
    assert (back.summary, back.metric, len(back), back.k) == ({"recall": 0.5}, metric, n, k)
    assert (back.similarity is back.distance) == (metric == "cosine")


def test_both_sets_have_their_own(tmp_path):
    store, one, other = open_store(str(tmp_path)), found(3, 1, "cosine"), found(4, 2, "cosine")
    stored = store_neighbors(store, one, INDEXED), store_neighbors(store, other, SCORED)
    assert [len(neighbors.open(store)) for neighbors in stored] == [3, 4]
    store.remove(SCORED.name(NEIGHBORS.partition("/")[0]))
    assert {path.partition("/")[0] for path in files_below(tmp_path)} == {"shards"}


def test_what_was_not_finished_is_not_there(tmp_path):
    store = open_store(str(tmp_path))
    with pytest.raises(KeyboardInterrupt), create_neighbors(store, 5, 2, "euclidean") as new:
        new.indices[:] = 1
        raise KeyboardInterrupt
    assert files_below(tmp_path) == set()
