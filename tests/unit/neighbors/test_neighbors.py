"""Each row's nearest others: exact where it says so, measured where it does not."""

from concurrent.futures import ThreadPoolExecutor

import faiss
import numpy as np
import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageEnhance
from scipy.spatial.distance import cdist

from fastdup_ray import RunConfig
from fastdup_ray.common.records import Neighbors
from fastdup_ray.errors import ConfigError, DamagedError
from fastdup_ray.extract.model import BATCH, SIDE, Model
from fastdup_ray.neighbors import check_search, load_index, make_index
from fastdup_ray.neighbors.faiss_factory import check_parameters, list_parameters
from fastdup_ray.neighbors.faiss_index import FaissIndex, choose_nprobe
from fastdup_ray.neighbors.int8_bruteforce import Int8Index
from fastdup_ray.neighbors.int8_graph import build_graph
from fastdup_ray.neighbors.metrics import compute_values, is_distance
from fastdup_ray.neighbors.partition_threshold import INT8_K, PARTITIONED, PARTITIONED_ABOVE, PARTITIONED_ABOVE_ON_GPU
from fastdup_ray.neighbors.search import find_neighbors_of, find_neighbors_within
from fastdup_ray.neighbors.search_plan import FEW, FLAT_UP_TO, choose_ef_search, choose_index, plan_search
from fastdup_ray.system.cgroups import list_cgroups
from fastdup_ray.system.memory import _read_cgroups, measure_free_memory
from tests.helpers.embeddings import normalized, unit_rows
from tests.helpers.runs import PHOTOS


def built(rows: np.ndarray, name: str = "Flat", parameters: str = "", threads: int = 2, parts: int = 1) -> FaissIndex:
    index = FaissIndex(name, rows.shape[1], check_parameters(parameters), threads)
    for part in np.array_split(rows, parts):
        index.add(part)
    return index


def searched(rows: np.ndarray, k: int, *args, **keywords) -> Neighbors:
    return find_neighbors_within(built(rows, *args, **keywords), rows, k)


def brute_force(rows: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Cosines with 6 decimals and indices of each row's k nearest others, ties by index."""
    cosine = np.round(np.clip(rows.astype(np.float64) @ rows.astype(np.float64).T, -1, 1), 6)
    np.fill_diagonal(cosine, -np.inf)
    order = np.argsort(-cosine, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(cosine, order, axis=1), order


class Fake:
    """An index that finds what a test says."""

    name, why, metric, exact, unused = "fake", "", "cosine", False, ()

    def __init__(self, rows: np.ndarray, find):
        self.n, self.d = rows.shape
        self._find = find

    def candidates(self, k: int) -> int:
        return k

    def search(self, xq: np.ndarray, k: int):
        return None, self._find(xq, k)

    def search_within(self, k: int):
        return None


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
    assert found.summary == {"index": "Flat", "why": "", "metric": "cosine", "k": k, "recall": 1.0}


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

    index = Fake(rows, lambda xq, k: brute_force(rows, k)[1])
    found = find_neighbors_within(index, rows, 3)
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
    found = find_neighbors_of(built(rows, name), rows, queries, k)
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
    before, after = (find_neighbors_of(each, clusters, queries, 4) for each in (index, loaded))
    assert after.indices.tobytes() == before.indices.tobytes()
    assert after.summary == before.summary | {"why": "the stored index"}


def test_no_queries_have_no_neighbours():
    rows = unit_rows(5, 8)
    assert find_neighbors_of(built(rows), rows, rows[:0], 2).indices.shape == (0, 2)


@pytest.mark.parametrize("content", [b"", b"IxFI", b"no index at all", None])
def test_a_file_that_is_no_whole_index_is_told(content, tmp_path):
    path = tmp_path / "faiss.index"
    built(unit_rows(10, 8)).save(path)
    path.write_bytes(path.read_bytes()[:-50] if content is None else content)
    with pytest.raises(DamagedError, match="not a complete faiss index") as caught:
        load_index(path, RunConfig.of(input_dir="photos"), threads=1)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("shape", [(9, 8), (10, 16)])
def test_an_index_of_other_rows_is_refused(shape):
    index, rows = built(unit_rows(10, 8)), unit_rows(*shape)
    with pytest.raises(DamagedError, match=r"10.* of 8|8.* 10"):
        find_neighbors_of(index, rows, rows, 1)


# --- approximate ------------------------------------------------------------------------------------------------------


def test_hnsw_finds_nearly_all_and_says_how_many(clusters):
    found = searched(clusters, 5, "HNSW32")
    true, _ = brute_force(clusters, 5)
    measured = (found.similarity >= true[:, -1:] - 1e-6).mean()
    assert found.summary["index"] == "HNSW32"
    assert found.summary["recall"] >= 0.95
    assert found.summary["recall"] == pytest.approx(measured, abs=0.02)


def test_the_recall_of_a_bad_index_is_told_as_bad(clusters):
    def the_rows_that_come_next(xq: np.ndarray, k: int) -> np.ndarray:
        start = np.flatnonzero((clusters == xq[0]).all(axis=1))[0]
        return (start + np.arange(len(xq))[:, None] + 100 + np.arange(k)) % len(clusters)

    assert find_neighbors_within(Fake(clusters, the_rows_that_come_next), clusters, 5).summary["recall"] < 0.05


def test_what_an_index_does_not_find_is_no_neighbour():
    rows = unit_rows(20, 8)
    found = find_neighbors_within(Fake(rows, lambda xq, k: np.full((len(xq), k), -1)), rows, 2)
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
    stored = faiss.read_index(str(tmp_path / "index"))
    hnsw = faiss.downcast_index(stored).hnsw
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
def test_a_parameter_that_the_index_has_not_is_told(name, parameters, unknown_to_it):
    rows = unit_rows(10, 8)
    found = find_neighbors_within(built(rows, name, parameters), rows, 2)
    assert found.summary.get("unused_parameters", []) == unknown_to_it


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
    assert "faiss_param" in str(caught.value)
    assert told in str(caught.value)


def test_a_name_that_faiss_does_not_know_is_told_the_names_that_it_knows():
    with pytest.raises(ConfigError, match="efSearch"):
        check_parameters("ef=175")


@given(st.text(st.sampled_from("efSearchnprobquantiz_=, 019-x\n"), max_size=40) | st.text(max_size=20))
def test_any_text_is_parameters_or_one_line(text):
    try:
        parameters = check_parameters(text)
    except ConfigError as error:
        assert "faiss_param: " in str(error)
        assert "\n" not in str(error)
    else:
        again = ",".join(f"{name}={value}" for name, value in parameters.items())
        assert check_parameters(again) == parameters


@given(
    st.dictionaries(
        st.sampled_from(["efSearch", "efConstruction", "nprobe", "quantizer_efSearch", "max_codes"]),
        st.integers(1, 1 << 24),
    )
)
def test_every_parameter_is_read_as_it_is_written(parameters):
    assert check_parameters(" , ".join(f"{name} = {value}" for name, value in parameters.items())) == parameters


@pytest.mark.parametrize(
    ("name", "has"),
    [
        ("Flat", []),
        ("HNSW32", ["efConstruction", "efSearch"]),
        ("IDMap,HNSW16", ["efConstruction", "efSearch"]),
        ("PCA8,HNSW16", ["efConstruction", "efSearch"]),
        ("IVF16,Flat", ["nprobe", "max_codes"]),
        ("IVF16,PQ8", ["nprobe", "ht", "max_codes"]),
        ("IVF16,SQ8,RFlat", ["nprobe", "k_factor_rf", "max_codes"]),
        ("IVF16,PQ8+4", ["nprobe", "ht", "k_factor", "max_codes"]),
        ("IVF16_HNSW8,Flat", ["nprobe", "max_codes", "quantizer_efConstruction", "quantizer_efSearch"]),
    ],
)
def test_each_index_has_its_parameters(name, has):
    assert set(has) <= set(list_parameters(name, 32))
    assert "k_factor" not in list_parameters("HNSW32", 32)


def test_a_wrong_name_is_told_what_this_index_has():
    config = RunConfig.of(input_dir="photos", faiss_mode="IVF16,Flat", faiss_param="efsearch=9")
    with pytest.raises(ConfigError, match=r"'efsearch'; IVF16,Flat has nprobe, max_codes\.$"):
        check_search(config, 32)


def test_parameters_reach_indexes_within_indexes(tmp_path, clusters):
    index = built(clusters[:400], "PCA16,IVF8_HNSW8,Flat", "nprobe=3,quantizer_efSearch=21,max_codes=77")
    index.save(tmp_path / "index")
    stored = faiss.read_index(str(tmp_path / "index"))  # owns what is taken out of it
    ivf = faiss.extract_index_ivf(stored)
    assert ivf.nprobe == 3
    assert faiss.downcast_index(ivf.quantizer).hnsw.efSearch == 21


def test_what_an_index_knows_only_roughly_is_ranked_anew_among_many():
    """Without, PQ4 would find half of them."""
    assert searched(unit_rows(3000, 32), 5, "PQ4").summary["recall"] > 0.9


def test_a_stored_index_takes_new_search_parameters(tmp_path, clusters):
    path = tmp_path / "index"
    built(clusters, "IVF64,Flat", "nprobe=1").save(path)

    def found(parameters: str) -> float:
        index = load_index(path, RunConfig.of(input_dir="photos", faiss_param=parameters), 2)
        return find_neighbors_within(index, clusters, 8).summary["recall"]

    assert found("") == found("nprobe=1") < found("nprobe=64") == 1


# --- any faiss index --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        *("HNSW16", "IVF16,Flat", "IVF16,SQ8", "IVF16,PQ16x4", "SQ8", "PQ32x4", "PCA64,Flat", "LSH", "HNSW16,SQ8"),
        *("IDMap,Flat", "IDMap2,HNSW16", "PCA64,HNSW16", "IVF16,PQ16x4,RFlat", "IMI2x4,Flat"),
        "IVF16_HNSW32,Flat",
        pytest.param("OPQ4_16,PQ4x4fs", marks=pytest.mark.slow),
    ],
)
def test_any_index_of_faiss_is_built_the_same_each_time_and_says_what_it_finds(name, clusters, tmp_path):
    rows = clusters[:1000]
    found = [searched(rows, 3, name, threads=threads) for threads in (1, 2)]
    true = brute_force(rows, 3)[0]
    assert found[0].summary["recall"] > 0.9
    assert (np.nan_to_num(found[0].similarity) <= true + 1e-6).all()
    assert found[0].similarity.tobytes() == found[1].similarity.tobytes()
    for threads in (1, 2):
        built(rows, name, threads=threads).save(tmp_path / str(threads))
    assert (tmp_path / "1").read_bytes() == (tmp_path / "2").read_bytes()


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("hnsw32", "could not parse index string hnsw32"),
        ("Flat,", "could not parse"),
        ("IVF16", "could not parse"),
        ("PQ7", "multiple"),
        ("PQ8x24", "x24 should be from 1 to 16"),
        ("HNSW1", "HNSW1 should be from 4"),
        ("IVF0,Flat", "IVF0 should be from 1"),
        ("IVF99999999999,Flat", "to 16,777,216"),
        ("PCA64,Flat", "asks for more"),
        ("an index\nof mine", "could not parse"),
    ],
)
def test_a_string_that_makes_no_index_is_told_before_any_work(name, told):
    config = RunConfig.of(input_dir="photos", faiss_mode=name)
    with pytest.raises(ConfigError) as caught:
        check_search(config, 32)
    assert str(caught.value).startswith(f"Invalid value for faiss_mode: {name!r} with embeddings of 32 numbers (")
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("name", "needed"), [("IVF256,Flat", 256), ("PQ8", 256), ("PQ8x4", 16), ("PCA30,Flat", 30)])
def test_too_few_rows_to_learn_from_are_told_how_many_are_needed(name, needed):
    with pytest.raises(ConfigError, match=f"needs at least {needed} images, and there are 10"):
        built(unit_rows(10, 32), name)


# --- metrics and providers --------------------------------------------------------------------------------------------

METRICS = ["cosine", "euclidean", "squared_euclidean", "manhattan"]


def of_provider(rows: np.ndarray, k: int, **parameters) -> Neighbors:
    config = RunConfig.of(input_dir="photos", nearest_neighbors_k=k, **parameters)
    index = make_index(config, plan_search(config, *rows.shape, MUCH), threads=2)
    index.add(rows)
    return find_neighbors_within(index, rows, k)


@pytest.mark.parametrize("metric", METRICS)
def test_brute_force_flat_and_ball_tree_agree_row_by_row(metric, clusters):
    rows = np.concatenate([clusters[:600], clusters[:5], unit_rows(100)])
    rows64 = rows.astype(np.float64)
    exact = {"cosine": "cosine", "euclidean": "euclidean", "squared_euclidean": "sqeuclidean", "manhattan": "cityblock"}
    true = cdist(rows64, rows64, exact[metric])
    true = 1 - true if metric == "cosine" else true
    np.fill_diagonal(true, -np.inf if metric == "cosine" else np.inf)
    order = np.argsort(-true if metric == "cosine" else true, axis=1, kind="stable")[:, :3]
    expected = np.take_along_axis(true, order, 1)
    for parameters in (
        {"nn_provider": "turi", "nnmodel": "brute_force"},
        {"nn_provider": "faiss", "faiss_mode": "Flat"},
        {"nn_provider": "turi", "nnmodel": "ball_tree"},
    ):
        found = of_provider(rows, 3, distance=metric, **parameters)
        assert np.abs(found.distance - expected).max() <= 2e-6
        assert (found.indices == order).mean() > 0.995
        assert np.abs(found.similarity - np.einsum("nd,nkd->nk", rows64, rows64[found.indices])).max() <= 1e-6
        assert found.summary["recall"] == 1


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize(
    "parameters", [{"faiss_mode": "HNSW32"}, {"faiss_mode": "IVF16,SQ8"}, {"nn_provider": "turi", "nnmodel": "lsh"}]
)
def test_a_provider_finds_neighbours_by_a_metric_or_says_which_can(parameters, metric, clusters):
    if metric == "manhattan" and parameters != {"faiss_mode": "HNSW32"}:
        with pytest.raises(ConfigError, match=r"distance: 'manhattan' .* Use "):
            check_search(RunConfig.of(input_dir="photos", distance=metric, **parameters), 576)
        return
    found = of_provider(clusters, 3, distance=metric, **parameters)
    assert found.summary["recall"] >= 0.95
    rising = np.diff(found.distance, axis=1) * (1 if is_distance(metric) else -1)
    assert (rising >= 0).all()


def test_a_distance_of_equal_rows_is_zero():
    rows = np.repeat(unit_rows(3, 16), 2, axis=0)
    for metric in METRICS[1:]:
        found = of_provider(rows, 1, distance=metric)
        assert (found.distance == 0).all()
        assert (found.similarity == 1).all()


def test_a_row_of_zeros_is_as_far_as_the_metric_says():
    rows = np.concatenate([unit_rows(4, 8), np.zeros((2, 8), np.float32)])
    pair = np.array([[4, 5]])
    assert compute_values(rows[:1], rows, pair, "cosine").tolist() == [[0, 0]]
    assert compute_values(rows[:1], rows, pair, "euclidean").tolist() == [[1, 1]]
    assert compute_values(rows[4:5], rows, np.array([[5, -1]]), "squared_euclidean")[0, 0] == 0


@pytest.mark.parametrize("nnmodel", ["brute_force", "ball_tree", "lsh"])
@pytest.mark.parametrize("metric", ["cosine", "manhattan"])
def test_turi_stores_an_exact_index_that_finds_the_same(nnmodel, metric, tmp_path, clusters):
    if (nnmodel, metric) == ("lsh", "manhattan"):
        return
    config = RunConfig.of(input_dir="photos", nn_provider="turi", nnmodel=nnmodel, distance=metric)
    rows, path = clusters[:200], tmp_path / "index"
    index = make_index(config, plan_search(config, *rows.shape, MUCH), threads=1)
    index.add(rows)
    index.save(path)
    loaded = load_index(path, config, 1)
    assert loaded.exact
    assert find_neighbors_within(loaded, rows, 2).distance == pytest.approx(
        find_neighbors_within(index, rows, 2).distance
    )


def test_a_stored_index_of_another_metric_is_measured_by_the_one_that_is_asked_for(tmp_path, clusters):
    built(clusters[:500]).save(tmp_path / "index")
    config = RunConfig.of(input_dir="photos", distance="manhattan")
    found = find_neighbors_within(load_index(tmp_path / "index", config, 1), clusters[:500], 2)
    assert found.metric == "manhattan"
    assert found.summary["recall"] >= 0.98


# --- in eight bits ----------------------------------------------------------------------------------------------------


def in_eight_bits(rows: np.ndarray) -> Int8Index:
    index = Int8Index(rows.shape[1], 2, "cosine")
    index.add(rows)
    return index


@pytest.mark.parametrize("k", [1, 3, 40])
@pytest.mark.parametrize(("n", "d"), [(2, 4), (50, 8), (700, 576)])
def test_eight_bits_find_what_brute_force_finds(n, d, k, monkeypatch):
    monkeypatch.setattr("fastdup_ray.neighbors.all_pairs.PART", 64)
    rows = unit_rows(n, d)
    found = find_neighbors_within(in_eight_bits(rows), rows, k)
    cosine, _ = brute_force(rows, min(k, n - 1))
    assert (np.abs(found.similarity - cosine) <= 1e-6).mean() > 0.99
    assert found.summary["recall"] > 0.99


def test_products_of_eight_bits_are_exact_wherever_they_are_made():
    """The largest that there are: where a processor adds them up in 16 bits, more bits would not fit."""
    rows = np.full((3, 576), 1 / 24, np.float32)
    rows[1] *= -1
    products, columns = in_eight_bits(rows).search(rows, 3)
    values = np.take_along_axis(products, np.argsort(columns, axis=1), 1)
    assert values.tolist() == [[576 * 63 * 126 * sign for sign in row] for row in ((1, -1, 1), (-1, 1, -1), (1, -1, 1))]


@pytest.mark.parametrize("rows", [np.zeros((4, 8)), np.eye(8), np.repeat(np.eye(1, 8), 5, axis=0)])
def test_odd_rows_in_eight_bits(rows):
    rows = rows.astype(np.float32)
    found = find_neighbors_within(in_eight_bits(rows), rows, 2)
    assert (found.indices != np.arange(len(rows))[:, None]).all()
    assert np.array_equal(found.similarity, brute_force(rows, 2)[0])


def test_what_is_searched_in_eight_bits_is_stored_as_it_is(tmp_path, clusters):
    in_eight_bits(clusters).save(tmp_path / "index")
    stored = load_index(tmp_path / "index", RunConfig.of(input_dir="photos"), 1)
    assert (stored.name, stored.exact, stored.n) == ("Flat", True, 3000)


def test_the_graph_of_eight_bits_is_that_of_its_source():
    from importlib.resources import files

    assert files("fastdup_ray.neighbors").joinpath("eight_bit.onnx").read_bytes() == build_graph().SerializeToString()


# --- which index ------------------------------------------------------------------------------------------------------

MUCH = 1 << 50


def chosen(n: int, memory: int = MUCH, **parameters) -> str:
    return choose_index(RunConfig.of(input_dir="photos", **parameters), n, 576, memory).name


@pytest.mark.parametrize("mode", [{}, {"faiss_mode": "auto"}])
@pytest.mark.parametrize(
    ("n", "name"),
    [
        (FEW, "Flat"),
        (FEW + 1, Int8Index.name),
        (PARTITIONED_ABOVE, Int8Index.name),
        (PARTITIONED_ABOVE + 1, PARTITIONED),
    ],
)
def test_few_rows_are_searched_exactly_more_in_eight_bits_and_many_in_partitions(n, name, mode):
    assert chosen(n, **mode) == name


@pytest.mark.parametrize(("n", "name"), [(FLAT_UP_TO, "Flat"), (FLAT_UP_TO + 1, "HNSW32")])
def test_manhattan_is_not_for_eight_bits(n, name):
    assert chosen(n, distance="manhattan") == name


def test_a_gpu_searches_exactly():
    assert chosen(PARTITIONED_ABOVE_ON_GPU, compute="gpu") == "Flat"


def test_many_neighbours_make_the_exact_search_worth_while():
    assert chosen(PARTITIONED_ABOVE, nearest_neighbors_k=INT8_K) == Int8Index.name
    assert chosen(PARTITIONED_ABOVE, nearest_neighbors_k=1000) == "Flat"
    assert choose_ef_search(1000) > 2000


MANY = INT8_K + 1
"""Neighbours for which an index is taken, however many rows there are."""


@pytest.mark.parametrize(("gigabytes", "name"), [(40, "HNSW32"), (30, "IVF8192,SQ8"), (13, "IVF8192,SQ8"), (5, None)])
def test_memory_decides_where_there_is_little(gigabytes, name):
    """10 million rows take 26 GB as HNSW32 and 6.6 GB in lists of bytes, with the rows that these learn from."""
    if name is None:
        with pytest.raises(ConfigError, match=r"10,000,000 images: .*,PQ96', which .* machine .* with \d+"):
            chosen(10_000_000, gigabytes * 10**9, nearest_neighbors_k=MANY)
    else:
        assert chosen(10_000_000, gigabytes * 10**9, nearest_neighbors_k=MANY) == name


def test_manhattan_has_nothing_smaller_than_the_rows():
    assert chosen(10_000_000, 40 * 10**9, distance="manhattan") == "HNSW32"
    with pytest.raises(ConfigError, match=r"manhattan.*euclidean"):
        chosen(10_000_000, 13 * 10**9, distance="manhattan")


def test_the_choice_says_why():
    config = RunConfig.of(input_dir="photos")
    assert "exact" in choose_index(config, 10, 576, MUCH).why
    assert "8-bit" in choose_index(config, FEW + 1, 576, MUCH).why
    config = RunConfig.of(input_dir="photos", nearest_neighbors_k=MANY)
    assert "2.6 GB of 9.0 GB" in choose_index(config, 1_000_000, 576, 9 * 10**9).why
    assert "HNSW32 would take 2.6 GB of 3.0 GB" in choose_index(config, 1_000_000, 576, 3 * 10**9).why


@pytest.mark.parametrize(("d", "room"), [(576, 1.02), (64, 1.02)])
def test_hnsw_takes_the_memory_that_the_choice_counts_with(d, room, tmp_path):
    rows = unit_rows(3000, d)
    built(rows, "HNSW32").save(tmp_path / "index")
    counted = 3000 * (4 * d + 280)
    assert counted / room <= (tmp_path / "index").stat().st_size <= counted * room


def test_free_memory_is_that_of_this_machine():
    assert 1 << 20 < measure_free_memory() <= psutil.virtual_memory().total


def test_the_limit_of_a_group_counts(tmp_path):
    group = tmp_path / "batch"
    group.mkdir()
    (tmp_path / "own").write_text("0::/batch/inner\n")
    for name, text in {"max": "1000", "current": "700", "stat": "anon 5\ninactive_file 200\n"}.items():
        (group / f"memory.{name}").write_text(text)
    assert list(_read_cgroups(list_cgroups("memory", tmp_path, tmp_path / "own"))) == [500]


@pytest.mark.parametrize("n", [1, FLAT_UP_TO + 1])
@pytest.mark.parametrize("mode", ["Flat", "HNSW32", "IVF16,Flat"])
def test_an_index_that_is_asked_for_is_taken(mode, n):
    assert chosen(n, faiss_mode=mode) == mode


@pytest.mark.parametrize("n", [1, FLAT_UP_TO + 1])
def test_turi_is_exact_and_faiss_parameters_do_not_touch_it(n):
    config = RunConfig.of(input_dir="photos", nn_provider="turi", faiss_mode="HNSW32", faiss_param="efSearch=9")
    index = make_index(config, plan_search(config, n, 8, MUCH), 1)
    assert (index.name, index.exact, list(index.unused)) == ("Flat", True, [])


@pytest.mark.parametrize(("lists", "nprobe"), [(1, 1), (4, 4), (64, 32), (256, 64), (1024, 128)])
def test_a_part_of_the_lists_is_looked_into(lists, nprobe):
    assert choose_nprobe(lists) == nprobe


# --- real pictures ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def real_features() -> np.ndarray:
    """(5,250, 576): what the embedded model makes of seeded cuts of the photos, turned, mirrored and recoloured.

    Many overlap, and so have near neighbours, as the pictures of a real collection have.
    """
    rng = np.random.default_rng(4)
    photos = [Image.open(path).convert("RGB") for path in sorted((PHOTOS / "originals").iterdir())]
    batches = [[cut(photos[rng.integers(len(photos))], rng) for _ in range(BATCH)] for _ in range(5_250 // BATCH)]
    with ThreadPoolExecutor(2) as threads:
        return np.concatenate(list(threads.map(Model().embed, map(np.stack, batches))))


def cut(photo: Image.Image, rng: np.random.Generator) -> np.ndarray:
    """(SIDE, SIDE, 3) uint8: a part of the photo, a fifth to two thirds of its sides."""
    width, height = (int(side * part) for side, part in zip(photo.size, rng.uniform(0.2, 0.67, 2), strict=True))
    left, top = rng.integers(photo.width - width), rng.integers(photo.height - height)
    part = photo.resize((SIDE, SIDE), Image.Resampling.BILINEAR, (left, top, left + width, top + height))
    part = part.transpose(Image.Transpose(rng.integers(7)))
    return np.asarray(ImageEnhance.Color(part).enhance(rng.uniform(0, 2)))


@pytest.mark.slow
def test_eight_bits_find_the_neighbours_of_real_pictures(real_features):
    found = find_neighbors_within(in_eight_bits(real_features), real_features, 10)
    assert found.summary["recall"] >= 0.999


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["HNSW32", "IVF256,Flat", "IVF1024,Flat", "IVF256,SQ8"])
def test_the_defaults_find_98_of_100_neighbours_among_5_000_of_real_pictures(mode, real_features):
    rows, others = real_features[:5_000], real_features[5_000:]
    config = RunConfig.of(input_dir="photos", faiss_mode=mode)
    index = make_index(config, plan_search(config, *rows.shape, MUCH), threads=2)
    index.add(rows)
    for k in (2, 10):
        assert find_neighbors_of(index, rows, others, k).summary["recall"] >= 0.98
