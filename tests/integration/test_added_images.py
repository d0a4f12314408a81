"""A partitioned search of nearly the same images updates the neighbors of the last one."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from fastdup_ray.common import layout
from fastdup_ray.features import save_binary_feature
from fastdup_ray.neighbors.partitioned import added, earlier_search, embedding_digests, partition_layout, tasks
from fastdup_ray.runs import partitioned_search, search_stage
from fastdup_ray.storage import open_store
from tests.helpers.embeddings import normalized, unit_rows
from tests.helpers.runs import run_inline
from tests.helpers.s3_server import Bucket

N, D = 600, 32
SAME = ("similarity.csv", "outliers.csv", "connected_components.csv", "components_info.csv", "faiss.index")

Rows = np.ndarray


@pytest.fixture(autouse=True)
def few_are_many(monkeypatch) -> None:
    """More than 100 images are kept, and updated where one in ten has changed."""
    monkeypatch.setattr(earlier_search, "MOST_CHANGED", 0.1)
    for module in (search_stage, partitioned_search, tasks):
        monkeypatch.setattr(module, "KEPT_ABOVE", 100)
    monkeypatch.setattr(partition_layout, "LEAST_CAPACITY", 1)


@pytest.fixture
def one_cell(monkeypatch) -> None:
    """All images fit into one cell, where all are compared with all."""
    monkeypatch.setattr(partition_layout, "compute_capacity", lambda *_: 2000)


@pytest.fixture
def many_cells(monkeypatch) -> None:
    monkeypatch.setattr(partition_layout, "compute_capacity", lambda *_: 150)


@pytest.fixture
def steps(monkeypatch) -> list[str]:
    """The steps that search a cell, in order."""
    done: list[str] = []
    for module, name in ((tasks, "search_cell"), (added, "search_added")):
        monkeypatch.setattr(module, name, partial(note, done, getattr(module, name)))
    return done


def note(done: list[str], step: Callable[..., None], *args: object) -> None:
    done.append(step.__name__)
    step(*args)


@pytest.fixture(scope="module")
def rows() -> Rows:
    """600 embeddings, of which a third are alike."""
    alone = unit_rows(N - 200, D)
    return np.concatenate([alone, normalized(alone[:200] + 0.03 * unit_rows(200, D, seed=1))])


@pytest.fixture(scope="module")
def copies(rows) -> Rows:
    """12 new embeddings, of which 8 are alike to others."""
    return np.concatenate([normalized(rows[50:58] + 0.02 * unit_rows(8, D, seed=2)), unit_rows(4, D, seed=3)])


def write(folder: Path | str, rows: Rows) -> None:
    """Each embedding has the same name in each set."""
    names = [f"{abs(hash(row.tobytes())):020d}-{number}.jpg" for number, row in enumerate(rows)]
    save_binary_feature(folder, names, rows, overwrite=True)


def run(folder: Path | str, rows: Rows, **parameters):
    write(folder, rows)
    options = {"run_mode": 2, "faiss_mode": "partitioned", "report": False, "verify": "off"}
    return run_inline(None, folder, **options | parameters).summary["neighbors"]


def added_to(rows: Rows, copies: Rows) -> Rows:
    return np.concatenate([copies[:5], rows, copies[5:]])


def without(rows: Rows) -> Rows:
    """Without 10 embeddings that are neighbors of others."""
    return np.delete(rows, np.arange(0, 100, 10), axis=0)


def changed(rows: Rows, copies: Rows) -> Rows:
    rows = without(rows)
    rows[300:306] = copies[:6]
    return rows[::-1].copy()


CHANGES: dict[str, Callable[[Rows, Rows], Rows]] = {
    "added": added_to,
    "removed": lambda rows, _: without(rows),
    "changed, removed and in another order": changed,
    "one of three equal ones removed, another added": lambda rows, _: np.concatenate([rows[1:], rows[5:7]]),
    "in another order": lambda rows, _: rows[np.random.default_rng(0).permutation(len(rows))],
}


def assert_same(folder: Path, other: Path) -> None:
    for name in (*SAME, *layout.KEPT_ARRAYS.values()):
        if (other / name).exists():
            assert (folder / name).read_bytes() == (other / name).read_bytes(), name


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
@pytest.mark.parametrize("change", CHANGES)
def test_in_one_cell_the_result_is_that_of_a_search_of_all(change, metric, tmp_path, one_cell, rows, copies, steps):
    before = np.concatenate([rows, rows[:1], rows[:1]])
    after = CHANGES[change](before, copies)
    run(tmp_path / "out", before, distance=metric, nearest_neighbors_k=3)
    steps.clear()
    told = run(tmp_path / "out", after, distance=metric, nearest_neighbors_k=3)
    assert steps == ["search_added"]
    assert "added" not in run(tmp_path / "fresh", after, distance=metric, nearest_neighbors_k=3)
    assert_same(tmp_path / "out", tmp_path / "fresh")
    assert told["recall"] == 1
    assert told["added"]["new"] - told["added"]["removed"] == len(after) - len(before)


@pytest.mark.parametrize("k", [2, 10])
def test_in_many_cells_what_is_new_is_found_and_what_is_gone_is_not(k, tmp_path, many_cells, rows, copies, steps):
    full = run(tmp_path, rows, nearest_neighbors_k=k)
    after = without(added_to(rows, copies))
    told = run(tmp_path, after, nearest_neighbors_k=k)
    assert set(steps[: full["cells"]]) == {"search_cell"}
    assert set(steps[full["cells"] :]) == {"search_added"}
    assert told["recall_of_look_alikes"] > 0.98
    assert abs(told["recall"] - full["recall"]) < 0.03
    index, distance = (np.load(tmp_path / layout.KEPT_ARRAYS[name]) for name in ("indices", "distance"))
    assert index.shape == (len(after), k)
    assert index.max() < len(after)
    true = np.round((after[:, None].astype(np.float64) * after[index]).sum(axis=2), 6)
    assert np.abs(true - distance)[index >= 0].max() < 2e-6
    assert (np.diff(distance, axis=1) <= 0).all()
    new = np.flatnonzero((after[:, None] == copies[None, :8]).all(axis=2).any(axis=1))
    assert len(new) >= 6
    assert (distance[new, 0] > 0.9).all()
    old = index[new, 0]
    assert (index[old] == new[:, None]).any(axis=1).all()  # the old ones have them, too


def test_the_facts_add_up_over_reruns_until_all_are_searched_again(tmp_path, many_cells, rows, copies, steps):
    run(tmp_path, rows)
    one, two = added_to(rows, copies), np.concatenate([added_to(rows, copies)[2:], unit_rows(4, D, seed=7)])
    first, second = run(tmp_path, one), run(tmp_path, two)
    assert first["added"] == {"new": 12, "removed": 0, "searched": 12, "last_full": N, "changed_since": 12}
    assert second["added"] | {"searched": 0} == {
        **{"new": 4, "removed": 2, "searched": 0, "last_full": N, "changed_since": 18}
    }
    assert 4 <= second["added"]["searched"] <= 14
    again = run(tmp_path, two)
    assert again["reused"]
    assert again["added"] == second["added"]
    steps.clear()
    full = run(tmp_path, np.concatenate([two, unit_rows(50, D, seed=8)]))
    assert "added" not in full
    assert set(steps) == {"search_cell"}
    assert run(tmp_path, two[2:])["added"]["last_full"] == len(two) + 50


def test_that_many_images_have_lost_a_neighbor_is_reason_to_search_all(tmp_path, one_cell, rows, steps):
    hub = normalized(np.ones((1, D)))
    rows = np.concatenate([normalized(rows + 2 * hub), hub])
    run(tmp_path, rows)
    told = run(tmp_path, rows[:-1])
    assert steps == ["search_cell", "search_cell"]
    assert "added" not in told


@pytest.mark.parametrize(
    "other",
    [{"nearest_neighbors_k": 3}, {"distance": "euclidean"}, {"partition_copies": 2}, {"reuse": False}],
)
def test_with_other_parameters_all_are_searched(other, tmp_path, many_cells, rows, copies, steps):
    run(tmp_path, rows)
    steps.clear()
    assert "added" not in run(tmp_path, added_to(rows, copies), **other)
    assert set(steps) == {"search_cell"}


@pytest.mark.parametrize("what", ["code", "memory", *layout.KEPT_FILES[:2], layout.KEPT_DIGESTS, layout.KEPT_CENTERS])
def test_what_is_of_another_version_or_damaged_is_searched_again(
    what, tmp_path, many_cells, rows, copies, steps, monkeypatch
):
    run(tmp_path, rows)
    steps.clear()
    if what == "code":
        monkeypatch.setattr(search_stage, "hash_code", lambda: "another")
    elif what == "memory":
        monkeypatch.setattr(partition_layout, "compute_capacity", lambda *_: 200)
    else:
        (tmp_path / what).write_bytes((tmp_path / what).read_bytes()[:-3] + b"xxx")
    assert "added" not in run(tmp_path, added_to(rows, copies))
    assert set(steps) == {"search_cell"}


def test_few_images_and_one_index_are_no_earlier_search(tmp_path, many_cells, rows, copies, steps):
    run(tmp_path, rows, faiss_mode="Flat")
    assert "added" not in run(tmp_path, added_to(rows, copies))
    run(tmp_path, rows, faiss_mode="Flat")
    assert {path.name for path in tmp_path.glob("neighbors*")} == {
        layout.KEPT_NEIGHBORS,
        *(layout.KEPT_ARRAYS[name] for name in ("indices", "distance")),
    }


class Stopped(BaseException):
    """As a kill is, nothing goes on after it."""


STOPS = {
    "hash_block": (embedding_digests, 2),
    "restore_centers": (added, 0),
    "search_added": (added, 3),
    "merge_neighbors": (tasks, 0),
    "find_true_nearest": (tasks, 2),
    "keep_neighbors": (earlier_search, 0),
}


@pytest.mark.parametrize("step", STOPS)
def test_an_update_that_was_stopped_goes_on(step, tmp_path, many_cells, rows, copies, steps, monkeypatch):
    after = without(added_to(rows, copies))
    for folder in ("out", "whole"):
        run(tmp_path / folder, rows)
    run(tmp_path / "whole", after)
    steps.clear()
    module, number = STOPS[step]
    with monkeypatch.context() as stopped, pytest.raises(Stopped):
        stop(stopped, module, step, number)
        run(tmp_path / "out", after)
    assert "added" in run(tmp_path / "out", after)
    assert set(steps) == {"search_added"}
    cells = run(tmp_path / "out", after)["cells"]
    assert len(steps) == cells
    assert_same(tmp_path / "out", tmp_path / "whole")


def stop(monkeypatch, module, step: str, number: int) -> None:
    """Stop before the call of a step with a number."""
    calls, own = [0], getattr(module, step)

    def counted(*args, **keywords):
        calls[0] += 1
        if calls[0] > number:
            raise Stopped
        return own(*args, **keywords)

    counted.__name__ = step
    for user in (module, partitioned_search, __import__("fastdup_ray.runs.added_search", fromlist=["x"])):
        if getattr(user, step, None) is own:
            monkeypatch.setattr(user, step, counted)


def test_other_images_after_a_stop_are_not_mixed_with_what_was_left(tmp_path, many_cells, rows, copies, monkeypatch):
    run(tmp_path / "out", rows)
    with monkeypatch.context() as stopped, pytest.raises(Stopped):
        stop(stopped, tasks, "merge_neighbors", 0)
        run(tmp_path / "out", added_to(rows, copies))
    other = np.concatenate([rows, unit_rows(9, D, seed=5)])
    assert run(tmp_path / "out", other)["added"]["new"] == 9
    run(tmp_path / "whole", rows)
    run(tmp_path / "whole", other)
    assert_same(tmp_path / "out", tmp_path / "whole")


def test_in_a_bucket_the_result_is_that_in_a_folder(tmp_path, bucket: Bucket, many_cells, rows, copies):
    after = without(added_to(rows, copies))
    for folder in (tmp_path, bucket.work_dir):
        run(folder, rows)
        assert run(folder, after)["added"]["new"] == 12
    store = open_store(bucket.work_dir)
    for name in (*layout.KEPT_FILES, "similarity.csv"):
        if (tmp_path / name).exists():
            assert store.fetch(name).read_bytes() == (tmp_path / name).read_bytes(), name
