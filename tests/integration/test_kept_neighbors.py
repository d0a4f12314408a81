"""Neighbors are kept for the next run: the same features and the same search are not searched again."""

from functools import partial
from pathlib import Path

import numpy as np
import pytest

from fastdup_ray.common import layout
from fastdup_ray.features import save_binary_feature
from fastdup_ray.neighbors import kept_neighbors, search
from fastdup_ray.neighbors.partitioned import earlier_search, partition_layout, tasks
from fastdup_ray.runs import partitioned_search, search_stage
from tests.helpers.embeddings import normalized, unit_rows
from tests.helpers.runs import run_inline

KEPT = {layout.KEPT_NEIGHBORS, layout.KEPT_ARRAYS["indices"], layout.KEPT_ARRAYS["distance"]}
KEPT_OF = {"Flat": KEPT, "partitioned": KEPT | {layout.KEPT_DIGESTS, layout.KEPT_CENTERS}}
OUTPUTS = ("faiss.index", "similarity.csv", "outliers.csv", "connected_components.csv")


@pytest.fixture(params=["Flat", "partitioned"])
def mode(request, monkeypatch) -> str:
    """How 400 images are searched, of which more than 100 are kept."""
    for module in (search_stage, partitioned_search, tasks):
        monkeypatch.setattr(module, "KEPT_ABOVE", 100)
    monkeypatch.setattr(partition_layout, "compute_capacity", lambda *_: 150)
    monkeypatch.setattr(partition_layout, "LEAST_CAPACITY", 1)
    return request.param


@pytest.fixture
def searches(monkeypatch) -> list[str]:
    """The searches, or cells that are searched."""
    made: list[str] = []
    for module, name in ((search, "_search_block"), (tasks, "search_cell")):
        monkeypatch.setattr(module, name, partial(count, made, getattr(module, name)))
    return made


def count(made: list[str], search, *args, **keywords):
    made.append(search.__name__)
    return search(*args, **keywords)


def write(folder: Path, seed: int = 0) -> None:
    rows = unit_rows(300, 32, seed=seed)
    rows = np.concatenate([rows, normalized(rows[:100] + 0.02 * unit_rows(100, 32, seed=9))])
    save_binary_feature(folder, [f"{i:05d}.jpg" for i in range(len(rows))], rows, overwrite=True)


def run(folder: Path, mode: str, **parameters):
    return run_inline(None, folder, **{"run_mode": 2, "faiss_mode": mode, "report": False} | parameters)


def test_another_threshold_is_no_other_search(tmp_path, mode, searches):
    write(tmp_path / "out")
    write(tmp_path / "fresh")
    first = run(tmp_path / "out", mode)
    assert "reused" not in first.summary["neighbors"]
    assert {path.name for path in (tmp_path / "out").glob("neighbors*")} == KEPT_OF[mode]
    searches.clear()
    again = run(tmp_path / "out", mode, threshold=0.9, lower_threshold=0.2, ccthreshold=0.97)
    assert searches == []
    assert again.summary["neighbors"]["reused"]
    assert again.summary["neighbors"]["recall"] == first.summary["neighbors"]["recall"]
    run(tmp_path / "fresh", mode, threshold=0.9, lower_threshold=0.2, ccthreshold=0.97)
    assert searches
    for name in OUTPUTS:
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "fresh" / name).read_bytes()


@pytest.mark.parametrize("other", [{"nearest_neighbors_k": 3}, {"distance": "euclidean"}, {"reuse": False}])
def test_another_search_is_made(other, tmp_path, mode, searches):
    write(tmp_path / "out")
    run(tmp_path / "out", mode)
    searches.clear()
    result = run(tmp_path / "out", mode, **other)
    assert searches
    assert "reused" not in result.summary["neighbors"]


@pytest.mark.parametrize("what", ["features", "code", "indices", "distance", "record", "faiss.index"])
def test_what_does_not_fit_or_is_damaged_is_searched_again(what, tmp_path, mode, searches, monkeypatch):
    out = tmp_path / "out"
    for folder in (out, tmp_path / "fresh"):
        write(folder)
    run(out, mode)
    if what == "features":
        write(out, seed=1)
    elif what == "code":
        monkeypatch.setattr(search_stage, "hash_code", lambda: "another")
    else:
        name = {"record": layout.KEPT_NEIGHBORS} | layout.KEPT_ARRAYS
        path = out / name.get(what, what)
        path.write_bytes(path.read_bytes()[:-3] + b"xxx")
    searches.clear()
    told = run(out, mode).summary["neighbors"]
    assert "reused" not in told
    # With an index that is damaged alone, an update of the neighbors has nothing to search.
    assert searches or (what == "faiss.index" and told["added"]["searched"] == 0)
    if what == "faiss.index":
        run(tmp_path / "fresh", mode)
        assert (out / what).read_bytes() == (tmp_path / "fresh" / what).read_bytes()


def test_a_run_killed_after_its_search_does_not_search_again(tmp_path, mode, searches, monkeypatch):
    write(tmp_path / "out")
    with monkeypatch.context() as killed, pytest.raises(KeyboardInterrupt):
        killed.setattr("fastdup_ray.runs.pipeline.write_outputs", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        run(tmp_path / "out", mode)
    searches.clear()
    run(tmp_path / "out", mode)
    assert searches == []


def test_a_run_killed_as_it_keeps_its_neighbors_searches_again(tmp_path, mode, searches, monkeypatch):
    write(tmp_path / "out")
    run(tmp_path / "out", mode)
    with monkeypatch.context() as killed, pytest.raises(KeyboardInterrupt):
        for module in (search_stage, earlier_search):
            killed.setattr(module, "keep_neighbors", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        run(tmp_path / "out", mode, nearest_neighbors_k=3)
    assert not (tmp_path / "out" / layout.KEPT_NEIGHBORS).exists()
    searches.clear()
    run(tmp_path / "out", mode)
    assert searches


def test_few_images_are_searched_each_time(tmp_path, searches):
    write(tmp_path / "out")
    for _ in range(2):
        run(tmp_path / "out", "Flat")
    assert len(searches) == 2
    assert not list((tmp_path / "out").glob("neighbors*"))
    assert kept_neighbors.KEPT_ABOVE >= 400
