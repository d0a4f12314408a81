"""A partitioned search of nearly the same images updates the neighbors of the last one."""

import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from fastdup_ray.common import layout
from fastdup_ray.features import save_binary_feature
from fastdup_ray.neighbors.partitioned import added, earlier_search, partition_layout, tasks
from fastdup_ray.outputs.summary import FILES_AFTER_FEATURES
from fastdup_ray.runs import outputs_stage, partitioned_search, pipeline, search_stage
from fastdup_ray.storage import open_store
from tests.helpers.embeddings import normalized, unit_rows
from tests.helpers.images import save_cloudy
from tests.helpers.runs import run_inline
from tests.helpers.s3_server import Bucket

N, D = 600, 32
SAME = ("similarity.csv", "outliers.csv", "connected_components.csv", "components_info.csv", "faiss.index")

CELLS = {"partition_memory": 1324, "partition_copies": 2}
"""At most 300 embeddings in a cell; without this, one cell takes all, and compares all with all."""

Rows = np.ndarray


@pytest.fixture(scope="module", autouse=True)
def few_are_many() -> Iterator[None]:
    """More than 100 images are kept, and updated where one in five has changed; `CELLS` divides them."""
    with pytest.MonkeyPatch.context() as patch:
        for module in (search_stage, partitioned_search, tasks):
            patch.setattr(module, "KEPT_ABOVE", 100)
        patch.setattr(earlier_search, "MOST_CHANGED", 0.2)
        patch.setattr(partition_layout, "LEAST_CAPACITY", 1)
        patch.setattr(partition_layout, "compute_capacity", lambda memory, *_: (memory >> 20) - 1024)
        yield


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


Start = Callable[..., dict]


@pytest.fixture(scope="module")
def start(rows, tmp_path_factory) -> Start:
    """Makes a folder one in which 602 embeddings were searched, of which three are equal; returns the facts."""
    finished: dict[tuple, tuple[Path, dict]] = {}

    def start(folder: Path, **parameters):
        key = tuple(sorted(parameters.items()))
        if key not in finished:
            made = tmp_path_factory.mktemp("earlier")
            finished[key] = made, run(made, np.concatenate([rows, rows[:1], rows[:1]]), **parameters)
        shutil.copytree(finished[key][0], folder, dirs_exist_ok=True)
        return finished[key][1]

    return start


def added_to(rows: Rows, copies: Rows) -> Rows:
    return np.concatenate([copies[:5], rows, copies[5:]])


def without(rows: Rows) -> Rows:
    """Without 10 embeddings that are neighbors of others."""
    return np.delete(rows, np.arange(0, 100, 10), axis=0)


def changed(rows: Rows, copies: Rows) -> Rows:
    rows = without(rows)
    rows[300:306] = copies[:6]
    return rows[::-1].copy()


ALL_AT_ONCE = "added, removed, and in another order"
CHANGES: dict[str, Callable[[Rows, Rows], Rows]] = {
    "added": added_to,
    ALL_AT_ONCE: changed,
    "one of three equal ones removed, another added": lambda rows, _: np.concatenate([rows[1:], rows[5:7]]),
    "in another order": lambda rows, _: rows[np.random.default_rng(0).permutation(len(rows))],
}


def assert_same(folder: Path, other: Path) -> None:
    for name in (*SAME, *layout.KEPT_ARRAYS.values()):
        if (other / name).exists():
            assert (folder / name).read_bytes() == (other / name).read_bytes(), name


@pytest.mark.parametrize(
    ("change", "metric"), [*((change, "cosine") for change in CHANGES), (ALL_AT_ONCE, "euclidean")]
)
def test_in_one_cell_the_result_is_that_of_a_search_of_all(change, metric, tmp_path, start, rows, copies, steps):
    before = np.concatenate([rows, rows[:1], rows[:1]])
    after = CHANGES[change](before, copies)
    start(tmp_path / "out", distance=metric)
    steps.clear()
    told = run(tmp_path / "out", after, distance=metric)
    assert steps == ["search_added"]
    assert "added" not in run(tmp_path / "fresh", after, distance=metric)
    assert_same(tmp_path / "out", tmp_path / "fresh")
    assert told["recall"] == 1
    assert told["added"]["new"] - told["added"]["removed"] == len(after) - len(before)


def test_in_many_cells_what_is_new_is_found_and_what_is_gone_is_not(tmp_path, start, rows, copies, steps):
    k = 10
    full = start(tmp_path, nearest_neighbors_k=k, **CELLS)
    after = without(added_to(rows, copies))
    steps.clear()
    told = run(tmp_path, after, nearest_neighbors_k=k, **CELLS)
    assert len(steps) == told["cells"] > 4
    assert set(steps) == {"search_added"}
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
    assert (index[index[new, 0]] == new[:, None]).any(axis=1).all()  # the old ones have them, too


def test_the_facts_add_up_over_reruns_until_all_are_searched_again(tmp_path, start, rows, copies, steps):
    start(tmp_path)
    one = np.concatenate([added_to(rows, copies), rows[:1], rows[:1]])
    two = np.concatenate([one[2:], unit_rows(4, D, seed=7)])
    first, second = run(tmp_path, one), run(tmp_path, two)
    n = len(rows) + 2
    assert first["added"] == {"new": 12, "removed": 0, "searched": 12, "last_full": n, "changed_since": 12}
    searched = second["added"]["searched"]
    assert second["added"] == {"new": 4, "removed": 2, "searched": searched, "last_full": n, "changed_since": 18}
    assert 4 <= searched <= 14
    again = run(tmp_path, two)
    assert again["reused"]
    assert again["added"] == second["added"]
    steps.clear()
    three = np.concatenate([two, unit_rows(110, D, seed=8)])
    assert "added" not in run(tmp_path, three)
    assert steps == ["search_cell"]
    assert run(tmp_path, three[2:])["added"]["last_full"] == len(three)


def test_that_many_images_have_lost_a_neighbor_is_reason_to_search_all(tmp_path, rows, steps):
    hub = normalized(np.ones((1, D)))
    rows = np.concatenate([normalized(rows + 2 * hub), hub])
    run(tmp_path, rows)
    told = run(tmp_path, rows[:-1])
    assert steps == ["search_cell", "search_cell"]
    assert "added" not in told


@pytest.mark.parametrize(
    "other",
    [
        {"nearest_neighbors_k": 3},
        {"distance": "euclidean"},
        {"partition_copies": 2},
        {"partition_memory": 2048},
        {"reuse": False},
    ],
)
def test_with_other_parameters_all_are_searched(other, tmp_path, start, rows, copies, steps):
    start(tmp_path)
    steps.clear()
    assert "added" not in run(tmp_path, added_to(rows, copies), **other)
    assert steps == ["search_cell"]


@pytest.mark.parametrize("what", ["code", layout.KEPT_FILES[0], layout.KEPT_DIGESTS, layout.KEPT_CENTERS])
def test_what_is_of_another_version_or_damaged_is_searched_again(
    what, tmp_path, start, rows, copies, steps, monkeypatch
):
    start(tmp_path)
    steps.clear()
    if what == "code":
        monkeypatch.setattr(search_stage, "hash_code", lambda: "another")
    else:
        (tmp_path / what).write_bytes((tmp_path / what).read_bytes()[:-3] + b"xxx")
    assert "added" not in run(tmp_path, added_to(rows, copies))
    assert steps == ["search_cell"]


def test_the_search_of_one_index_is_not_updated(tmp_path, start, rows, copies):
    start(tmp_path)
    run(tmp_path, rows, faiss_mode="Flat")
    kept = {path.name for path in tmp_path.glob("neighbors*")}
    assert kept == {layout.KEPT_NEIGHBORS, *layout.KEPT_FILES[:2]}
    assert "added" not in run(tmp_path, added_to(rows, copies))


class Stopped(BaseException):
    """As a kill is, nothing goes on after it."""


def test_of_a_folder_only_images_that_were_added_are_searched(tmp_path, steps):
    """Also where the embeddings are in parts."""
    images, parameters = tmp_path / "in", {"faiss_mode": "partitioned", "report": False, "largest_features_file": 0}
    paths = save_cloudy(images, 112, (40, 40))
    for path in paths[:8]:
        path.rename(tmp_path / path.name)
    run_inline(images, tmp_path / "out", **parameters)
    for path in paths[:8]:
        (tmp_path / path.name).rename(path)
    paths[50].unlink()
    steps.clear()
    told = run_inline(images, tmp_path / "out", **parameters).summary["neighbors"]
    assert steps == ["search_added"]
    assert (told["added"]["new"], told["added"]["removed"]) == (8, 1)
    run_inline(images, tmp_path / "fresh", **parameters)
    assert_same(tmp_path / "out", tmp_path / "fresh")


@pytest.mark.parametrize("stop", [None, "write_summary_only", "write_summary"])
def test_run_mode_1_keeps_the_neighbors_for_mode_2(stop, tmp_path, steps, monkeypatch):
    images, out = tmp_path / "in", tmp_path / "out"
    run_with_more(images, out, steps, monkeypatch, stop)
    assert steps == ["search_added"]
    run_inline(images, tmp_path / "fresh", faiss_mode="partitioned", report=False, verify="off")
    assert_same(out, tmp_path / "fresh")


def test_run_mode_1_keeps_the_neighbors_in_a_bucket(tmp_path, bucket: Bucket, steps, monkeypatch):
    run_with_more(tmp_path / "in", bucket.work_dir, steps, monkeypatch)
    assert steps == ["search_added"]


def run_with_more(images: Path, out: Path | str, steps: list[str], monkeypatch, stop: str | None = None) -> None:
    """Run mode 0, then modes 1 and 2 with 8 more images. stop: what mode 1 is stopped before, and repeated."""
    parameters = {"faiss_mode": "partitioned", "report": False, "verify": "off"}
    paths, store = save_cloudy(images, 112, (40, 40)), open_store(str(out))
    for path in paths[:8]:
        path.rename(images.parent / path.name)
    run_inline(images, out, **parameters)
    kept = {name: store.fetch(name).read_bytes() for name in (layout.KEPT_NEIGHBORS, layout.KEPT_FILES[0])}
    for path in paths[:8]:
        (images.parent / path.name).rename(path)
    if stop:
        with monkeypatch.context() as patch, pytest.raises(Stopped):
            stop_before(patch, pipeline if stop == "write_summary_only" else outputs_stage, 0, stop)
            run_inline(images, out, run_mode=1, **parameters)
    assert "neighbors" not in run_inline(images, out, run_mode=1, **parameters).summary
    assert not any(map(store.exists, FILES_AFTER_FEATURES))
    assert all(store.fetch(name).read_bytes() == content for name, content in kept.items())
    steps.clear()
    told = run_inline(None, out, run_mode=2, **parameters).summary["neighbors"]
    assert (told["added"]["new"], told["added"]["removed"]) == (8, 0)


STOPS = {
    "restore_centers": (added, 0),
    "search_added": (added, 3),
    "keep_neighbors": (earlier_search, 0),
}
"""Steps, where they are looked up, and how often they are done before."""


@pytest.fixture(scope="module")
def updated(start, rows, copies, tmp_path_factory) -> Path:
    """A work_dir whose neighbors were updated without a stop."""
    folder = tmp_path_factory.mktemp("updated")
    start(folder, **CELLS)
    assert "added" in run(folder, without(added_to(rows, copies)), **CELLS)
    return folder


@pytest.mark.parametrize("step", STOPS)
def test_an_update_that_was_stopped_resumes(step, tmp_path, start, updated, rows, copies, steps, monkeypatch):
    start(tmp_path, **CELLS)
    after = without(added_to(rows, copies))
    steps.clear()
    with monkeypatch.context() as patch, pytest.raises(Stopped):
        stop_before(patch, *STOPS[step], step)
        run(tmp_path, after, **CELLS)
    told = run(tmp_path, after, **CELLS)
    assert "added" in told
    assert set(steps) == {"search_added"}
    assert len(steps) == told["cells"]
    assert_same(tmp_path, updated)


def stop_before(patch: pytest.MonkeyPatch, module: ModuleType, count: int, name: str) -> None:
    """Stop a run before it does a step once more than so many times."""
    step, calls = getattr(module, name), iter(range(count))

    def stopping(*args, **keywords):
        if next(calls, None) is None:
            raise Stopped
        return step(*args, **keywords)

    patch.setattr(module, name, stopping)


def test_other_images_after_a_stop_are_not_mixed_with_what_was_left(tmp_path, start, rows, copies, monkeypatch):
    start(tmp_path / "out")
    with monkeypatch.context() as patch, pytest.raises(Stopped):
        stop_before(patch, tasks, 0, "merge_neighbors")
        run(tmp_path / "out", added_to(rows, copies))
    other = np.concatenate([rows, unit_rows(9, D, seed=5)])
    told = run(tmp_path / "out", other)
    assert (told["added"]["new"], told["added"]["removed"]) == (9, 2)
    run(tmp_path / "fresh", other)
    assert_same(tmp_path / "out", tmp_path / "fresh")


def test_in_a_bucket_the_result_is_that_in_a_folder(tmp_path, bucket: Bucket, start, updated, rows, copies):
    start(tmp_path, **CELLS)
    store = open_store(bucket.work_dir)
    for path in tmp_path.iterdir():
        with store.create(path.name) as copy:
            shutil.copyfile(path, copy)
    assert run(bucket.work_dir, without(added_to(rows, copies)), **CELLS)["added"]["new"] == 11
    for name in ("similarity.csv", *layout.KEPT_FILES):
        if (updated / name).exists():
            assert store.fetch(name).read_bytes() == (updated / name).read_bytes(), name
