"""Each row's nearest others: exact where it says so, measured where it does not."""

import logging

import faiss
import numpy as np
import pytest

from fastdup_ray import RunConfig, neighbors
from fastdup_ray.errors import ConfigError, DamagedError
from fastdup_ray.neighbors import index_name, load_index, make_index
from fastdup_ray.neighbors.faiss_index import FaissIndex, check_parameters
from fastdup_ray.neighbors.search import neighbors_of, neighbors_within
from fastdup_ray.records import Neighbors
from tests.conftest import normalized, unit_rows


def built(rows: np.ndarray, name: str = "Flat", parameters: str = "", threads: int = 2, parts: int = 1) -> FaissIndex:
    index = FaissIndex(name, rows.shape[1], check_parameters(parameters), threads)
    for part in np.array_split(rows, parts):
        index.add(part)
    return index


def searched(rows: np.ndarray, k: int, *args, **keywords) -> Neighbors:
    return neighbors_within(built(rows, *args, **keywords), rows, k)


def brute_force(rows: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Cosines with 6 decimals and indices of each row's k nearest others, ties by index."""
    cosine = np.round(np.clip(rows.astype(np.float64) @ rows.astype(np.float64).T, -1, 1), 6)
    np.fill_diagonal(cosine, -np.inf)
    order = np.argsort(-cosine, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(cosine, order, axis=1), order


@pytest.fixture(scope="module")
def clusters() -> np.ndarray:
    """3,000 rows around 300 centres."""
    rng = np.random.default_rng(1)
    return normalized(np.repeat(unit_rows(300, seed=2), 10, axis=0) + 0.02 * rng.standard_normal((3000, 576)))


# --- exact ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("k", [1, 2, 7, 40])
@pytest.mark.parametrize(("n", "d"), [(50, 8), (200, 576)])
def test_flat_finds_what_brute_force_finds(n, d, k):
    rows = unit_rows(n, d)
    found = searched(rows, k)
    cosine, indices = brute_force(rows, k)
    assert np.abs(found.similarity - cosine).max() <= 1e-6
    assert (found.indices == indices).mean() > 0.999
    assert found.summary == {"index": "Flat", "k": k, "recall": 1.0}


def test_more_rows_than_one_block_of_queries_are_searched_like_few(monkeypatch):
    rows = unit_rows(100, 16)
    whole = searched(rows, 3)
    monkeypatch.setattr("fastdup_ray.neighbors.search.BLOCK", 7)
    blocks = searched(rows, 3, parts=4)
    assert blocks.similarity.tobytes() == whole.similarity.tobytes()
    assert blocks.indices.tobytes() == whole.indices.tobytes()


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_the_number_of_threads_changes_nothing(threads, clusters):
    rows = clusters[:500]
    assert searched(rows, 2, threads=threads).similarity.tobytes() == searched(rows, 2).similarity.tobytes()


@pytest.mark.parametrize("name", ["Flat", "HNSW32"])
@pytest.mark.parametrize("k", [1, 2, 5])
@pytest.mark.parametrize("copies", [2, 3, 6, 20])
def test_itself_is_left_out_also_among_more_identical_rows_than_k(name, k, copies):
    rows = np.repeat(unit_rows(4, 32), copies, axis=0)
    found = searched(rows, k, name)
    assert (found.indices != np.arange(len(rows))[:, None]).all()
    among_copies = min(k, copies - 1)
    assert (found.similarity[:, :among_copies] == 1).all()
    assert all(len(set(row)) == len(row) for row in found.indices.tolist())


def test_where_an_index_does_not_find_a_row_itself_the_farthest_is_left_out():
    rows = unit_rows(20, 8)
    true = brute_force(rows, 3)

    class NotItself:
        name, n, d, exact = "not itself", 20, 8, False

        def search(self, xq: np.ndarray, k: int):
            return brute_force(rows, k)

    found = neighbors_within(NotItself(), rows, 3)
    assert found.indices.tolist() == true[1].tolist()


def test_a_cosine_is_never_above_one_nor_minus_zero():
    rows = np.repeat(unit_rows(30), 2, axis=0) * np.float32(1 + 1e-6)
    similarity = searched(rows, 3).similarity
    assert similarity.max() == 1
    assert not np.signbit(similarity[similarity == 0]).any()


def test_opposite_rows_have_the_cosine_minus_one():
    row = unit_rows(1, 16)
    assert searched(np.concatenate([row, -row]), 1).similarity.tolist() == [[-1.0], [-1.0]]


@pytest.mark.parametrize("name", ["Flat", "HNSW32"])
def test_one_row_has_no_neighbours(name):
    found = searched(unit_rows(1), 2, name)
    assert found.similarity.shape == found.indices.shape == (1, 0)
    assert found.summary["recall"] == 1


@pytest.mark.parametrize("name", ["Flat", "HNSW32"])
@pytest.mark.parametrize(("n", "k"), [(2, 1), (2, 2), (5, 4), (5, 5), (5, 100)])
def test_there_are_no_more_neighbours_than_other_rows(name, n, k):
    rows = unit_rows(n, 24)
    found = searched(rows, k, name)
    cosine, indices = brute_force(rows, min(k, n - 1))
    assert found.indices.tolist() == indices.tolist()
    assert found.similarity == pytest.approx(cosine, abs=2e-6)
    assert found.summary["k"] == min(k, n - 1)


def test_neighbours_are_told_from_the_closest_on_and_ties_by_index(clusters):
    rows = np.concatenate([clusters[:100], clusters[:100]])
    found = searched(rows, 6)
    assert (np.diff(found.similarity, axis=1) <= 0).all()
    ties = np.diff(found.similarity, axis=1) == 0
    assert (np.diff(found.indices, axis=1)[ties] > 0).all()


# --- other rows -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["Flat", "HNSW32"])
@pytest.mark.parametrize("k", [1, 3, 50, 500])
def test_the_nearest_of_other_rows_are_found_and_none_is_itself(name, k):
    rows = unit_rows(100, 16)
    queries = np.concatenate([rows[:10], unit_rows(20, 16, seed=5)])
    found = neighbors_of(built(rows, name), rows, queries, k)
    cosine = np.round(np.clip(queries.astype(float) @ rows.astype(float).T, -1, 1), 6)
    order = np.argsort(-cosine, axis=1, kind="stable")[:, :k]
    assert found.indices.tolist() == order.tolist()
    assert np.abs(found.similarity - np.take_along_axis(cosine, order, 1)).max() <= 1e-6
    assert found.indices[:10, 0].tolist() == list(range(10))
    assert (found.summary["k"], found.summary["recall"]) == (min(k, 100), 1)


@pytest.mark.parametrize("name", ["Flat", "HNSW32"])
def test_a_stored_index_answers_like_the_one_that_was_stored(name, tmp_path, clusters):
    index = built(clusters, name)
    index.save(tmp_path / "index")
    config = RunConfig.of(input_dir="photos", faiss_param="" if name == "Flat" else "efSearch=64")
    loaded = load_index(tmp_path / "index", config, threads=2)
    assert (loaded.name, loaded.exact) == (index.name, index.exact)
    queries = unit_rows(50, seed=9)
    before, after = (neighbors_of(each, clusters, queries, 4) for each in (index, loaded))
    assert after.indices.tobytes() == before.indices.tobytes()
    assert after.summary == before.summary


def test_no_queries_have_no_neighbours():
    rows = unit_rows(5, 8)
    assert neighbors_of(built(rows), rows, rows[:0], 2).indices.shape == (0, 2)


@pytest.mark.parametrize("content", [b"", b"IxFI", b"no index at all", None])
def test_a_file_that_is_no_whole_index_is_told(content, tmp_path):
    path = tmp_path / "faiss.index"
    built(unit_rows(10, 8)).save(path)
    path.write_bytes(path.read_bytes()[:-50] if content is None else content)
    with pytest.raises(DamagedError, match="no whole faiss index") as caught:
        load_index(path, RunConfig.of(input_dir="photos"), threads=1)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("shape", [(9, 8), (10, 16)])
def test_an_index_of_other_rows_is_refused(shape):
    index, rows = built(unit_rows(10, 8)), unit_rows(*shape)
    with pytest.raises(DamagedError, match="10 rows of 8"):
        neighbors_of(index, rows, rows, 1)


# --- approximate ------------------------------------------------------------------------------------------------------


def test_hnsw_finds_nearly_all_and_says_how_many(clusters):
    found = searched(clusters, 5, "HNSW32")
    true, _ = brute_force(clusters, 5)
    measured = (found.similarity >= true[:, -1:] - 1e-6).mean()
    assert found.summary["index"] == "HNSW32"
    assert found.summary["recall"] >= 0.95
    assert found.summary["recall"] == pytest.approx(measured, abs=0.02)


def test_the_recall_of_a_bad_index_is_told_as_bad(clusters):
    class Blind:
        """Finds the rows that come next, whatever is asked."""

        name, n, d, exact = "blind", *clusters.shape, False

        def search(self, xq: np.ndarray, k: int):
            start = np.flatnonzero((clusters == xq[0]).all(axis=1))[0]
            indices = (start + np.arange(len(xq))[:, None] + 100 + np.arange(k)) % len(clusters)
            return None, indices

    assert neighbors_within(Blind(), clusters, 5).summary["recall"] < 0.05


def test_what_an_index_does_not_find_is_no_neighbour():
    class Forgetful:
        name, n, d, exact = "forgetful", 20, 8, False

        def search(self, xq: np.ndarray, k: int):
            return None, np.full((len(xq), k), -1)

    found = neighbors_within(Forgetful(), unit_rows(20, 8), 2)
    assert (found.indices == -1).all()
    assert np.isnan(found.similarity).all()
    assert found.summary["recall"] == 0


@pytest.mark.parametrize("parts", [1, 3])
@pytest.mark.parametrize("name", ["Flat", "HNSW32"])
def test_an_index_built_again_is_the_same_file_whatever_the_threads(name, parts, clusters, tmp_path):
    for threads in (1, 2):
        built(clusters[:1000], name, threads=threads, parts=parts).save(tmp_path / str(threads))
    assert (tmp_path / "1").read_bytes() == (tmp_path / "2").read_bytes()


@pytest.mark.parametrize("name", ["Flat", "HNSW32"])
def test_a_saved_index_holds_the_rows_under_their_numbers(name, tmp_path):
    rows = unit_rows(50)
    built(rows, name).save(tmp_path / "index")
    index = faiss.read_index(str(tmp_path / "index"))
    assert (index.ntotal, index.d) == rows.shape
    assert index.metric_type == faiss.METRIC_INNER_PRODUCT
    assert index.reconstruct_n(0, 50).tobytes() == rows.tobytes()


# --- parameters -------------------------------------------------------------------------------------------------------


def recall(clusters: np.ndarray, parameters: str) -> float:
    return searched(clusters, 10, "HNSW32", parameters).summary["recall"]


def test_a_wider_search_finds_more(clusters):
    assert recall(clusters, "efConstruction=8,efSearch=1") < recall(clusters, "efConstruction=8,efSearch=400")


def test_a_parameter_stands_in_the_index(tmp_path, clusters):
    built(clusters[:50], "HNSW32", "efSearch=175,efConstruction=77").save(tmp_path / "index")
    hnsw = faiss.downcast_index(faiss.read_index(str(tmp_path / "index"))).hnsw
    assert (hnsw.efSearch, hnsw.efConstruction) == (175, 77)


@pytest.mark.parametrize(
    ("name", "parameters", "unknown_to_it"),
    [
        ("Flat", "efSearch=175", ["efSearch"]),
        ("HNSW32", "efSearch=175", []),
        ("HNSW32", "efSearch=175,nprobes=200", ["nprobe"]),
        ("Flat", "efSearch=175,nprobe=200", ["efSearch", "nprobe"]),
    ],
)
def test_a_parameter_that_the_index_has_not_is_one_warning(name, parameters, unknown_to_it, caplog):
    with caplog.at_level(logging.WARNING, "fastdup_ray"):
        built(unit_rows(10, 8), name, parameters)
    assert len(caplog.messages) == len(unknown_to_it)
    for message, parameter in zip(caplog.messages, unknown_to_it, strict=True):
        assert parameter in message
        assert name in message


@pytest.mark.parametrize("alias", ["nprobe", "nprobes"])
def test_nprobe_has_two_spellings(alias):
    assert check_parameters(f"{alias}=3, efSearch = 9") == {"nprobe": 3, "efSearch": 9}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("efSerach=175", "'efSerach'"),
        ("efSearch", "name=value"),
        ("efSearch=", "name=value"),
        ("efSearch=0", "efSearch=0"),
        ("efSearch=-5", "efSearch=-5"),
        ("efSearch=many", "efSearch=many"),
        ("efSearch=1.5", "efSearch=1.5"),
        ("efSearch=1,efSearch=2", "twice"),
        ("nprobe=1,nprobes=2", "twice"),
    ],
)
def test_a_mistake_in_faiss_param_is_told(text, told):
    with pytest.raises(ConfigError) as caught:
        check_parameters(text)
    assert str(caught.value).startswith("faiss_param")
    assert told in str(caught.value)


def test_a_name_that_faiss_does_not_know_is_told_the_names_that_it_knows():
    with pytest.raises(ConfigError, match="efSearch"):
        check_parameters("ef=175")


# --- which index ------------------------------------------------------------------------------------------------------


def named(n: int, **parameters) -> str:
    return index_name(RunConfig.of(input_dir="photos", **parameters), n)


@pytest.mark.parametrize(("beyond", "name"), [(-1, "Flat"), (0, "Flat"), (1, "HNSW32")])
def test_few_rows_are_searched_exactly_and_many_with_hnsw(beyond, name):
    assert named(neighbors.FLAT_UP_TO + beyond) == name


@pytest.mark.parametrize("n", [1, neighbors.FLAT_UP_TO + 1])
@pytest.mark.parametrize("mode", ["Flat", "HNSW32"])
def test_an_index_that_is_asked_for_is_taken(mode, n):
    assert named(n, faiss_mode=mode) == mode


@pytest.mark.parametrize("n", [1, neighbors.FLAT_UP_TO + 1])
def test_turi_is_exact_and_faiss_parameters_do_not_touch_it(n, caplog):
    config = RunConfig.of(input_dir="photos", nn_provider="turi", faiss_mode="HNSW32", faiss_param="efSearch=9")
    assert index_name(config, n) == "Flat"
    assert make_index(config, n, 8, 1).exact
    assert not caplog.messages
