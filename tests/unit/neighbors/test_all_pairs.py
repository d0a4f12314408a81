"""Embeddings are compared with each other in 8 bits: each pair once, and the best candidates kept for both."""

import tracemalloc

import numpy as np
import pytest

from fastdup_ray.neighbors import all_pairs
from fastdup_ray.neighbors.all_pairs import compare_all, compare_group
from fastdup_ray.neighbors.candidate_lists import NO_PRODUCT, CandidateLists
from fastdup_ray.neighbors.int8_bruteforce import Int8Index
from fastdup_ray.neighbors.int8_products import LEVELS, QuantizedView, Quantizer, multiply
from fastdup_ray.neighbors.search import find_neighbors_of, find_neighbors_within
from tests.helpers.embeddings import unit_rows

PART = 16


@pytest.fixture(autouse=True)
def small_parts(monkeypatch):
    monkeypatch.setattr(all_pairs, "PART", PART)


def best(products: np.ndarray, c: int) -> np.ndarray:
    """The indices of the c largest products of each row, ties by index."""
    return np.argsort(-products, axis=1, kind="stable")[:, :c]


def compared(rows: np.ndarray, c: int, threads: int = 2) -> CandidateLists:
    lists = CandidateLists(len(rows), min(c, len(rows) - 1))
    compare_all(Quantizer(rows).quantize(rows), lists, threads)
    return lists


def exact_cosines(rows: np.ndarray, k: int) -> np.ndarray:
    cosines = np.round(np.clip(rows.astype(float) @ rows.T.astype(float), -1, 1), 6)
    np.fill_diagonal(cosines, -np.inf)
    return -np.sort(-cosines, axis=1)[:, :k]


# --- quantized products -----------------------------------------------------------------------------------------------


def test_a_product_is_that_of_the_integers_with_the_left_ones_halved():
    rows = np.random.default_rng(0).integers(-LEVELS, LEVELS + 1, (40, 576)).astype(np.int8)
    halves = np.rint(rows / 2).astype(int)  # to even numbers
    assert (multiply(rows, rows[:7]) == halves @ rows[:7].T.astype(int)).all()


def test_all_integers_are_halved_without_a_bias():
    numbers = np.arange(-LEVELS, LEVELS + 1, dtype=np.int8)
    halves = multiply(numbers[:, None], np.ones((1, 1), np.int8))[:, 0]
    assert halves.tolist() == np.rint(numbers / 2).tolist()


@pytest.mark.parametrize("d", [1, 2, 7, 64, 577, 2048])
def test_products_stand_for_cosines_whatever_the_width(d):
    rows = unit_rows(50, d)
    quantizer = Quantizer(rows)
    quantized = quantizer.quantize(rows)
    assert np.abs(multiply(quantized, quantized) / quantizer.to_product(1) - rows @ rows.T).max() < 0.03


def test_numbers_larger_than_those_of_the_scale_are_clipped():
    quantizer = Quantizer(np.array([[0.5, -0.1]], np.float32))
    assert quantizer.quantize(np.array([[1, -9, 0.25]], np.float32)).tolist() == [[LEVELS, -LEVELS, LEVELS // 2]]


# --- lists of candidates ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("levels", [1, 3, 1000])
@pytest.mark.parametrize("c", [1, 4, 30])
def test_lists_hold_the_best_whatever_the_order_and_however_often(c, levels):
    """With few levels nearly all are ties."""
    random = np.random.default_rng(c)
    products = random.integers(-levels, levels + 1, (20, 90)).astype(np.int32)
    parts = np.array_split(np.arange(90), 7)
    for seed in range(3):
        lists = CandidateLists(20, c)
        order = np.random.default_rng(seed).permutation(np.repeat(np.arange(7), 2))
        for part in order:
            own = np.random.default_rng(seed).permutation(20)
            lists.update(own, products[np.ix_(own, parts[part])], parts[part])
        assert (lists.get_indices() == best(products, c)).all()
        assert (lists.get_products(c) == np.take_along_axis(products, best(products, c), 1)).all()


def test_transposed_products_are_the_same(monkeypatch):
    products = np.random.default_rng(0).integers(-99, 99, (30, 40)).astype(np.int32)
    first, second = CandidateLists(30, 3), CandidateLists(30, 3)
    for start in (0, 20):
        part = np.arange(start, start + 20)
        first.update(np.arange(30), products[:, part], part)
        second.update(np.arange(30), products[:, part].T.copy().T, part)
    assert (first.get_indices() == second.get_indices()).all()
    assert (first.get_indices() == best(products, 3)).all()


def test_where_there_are_too_few_candidates_there_is_none():
    lists = CandidateLists(2, 3)
    assert (lists.get_indices() == -1).all()
    lists.update(np.array([1]), np.array([[5, NO_PRODUCT]], np.int32), np.array([0, 1]))
    assert lists.get_indices().tolist() == [[-1, -1, -1], [0, -1, -1]]
    assert lists.get_products(3).tolist() == [[NO_PRODUCT] * 3, [5, NO_PRODUCT, NO_PRODUCT]]


# --- all pairs --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [2, 3, PART - 1, PART, PART + 1, 2 * PART, 2 * PART + 1, 3 * PART, 7 * PART - 3])
@pytest.mark.parametrize("k", [1, 2, 10])
def test_all_pairs_find_what_the_exact_search_finds(n, k):
    rows = unit_rows(n, 64)
    index = Int8Index(64, 2, "cosine")
    index.add(rows)
    found = find_neighbors_within(index, rows, k)
    assert (found.indices != np.arange(n)[:, None]).all()
    assert np.abs(found.similarity - exact_cosines(rows, min(k, n - 1))).max() <= 1e-6
    assert found.summary["recall"] == 1


@pytest.mark.parametrize("k", [1, 4, 500])
def test_other_queries_find_what_the_exact_search_finds(k):
    rows = unit_rows(5 * PART + 2, 64)
    queries = np.concatenate([rows[:3], unit_rows(2 * PART, 64, seed=5)])
    index = Int8Index(64, 2, "cosine")
    index.add(rows)
    found = find_neighbors_of(index, rows, queries, k)
    cosines = -np.sort(-(queries.astype(float) @ rows.T.astype(float)), axis=1)[:, :k]
    assert np.abs(found.similarity - cosines).max() <= 2e-6
    assert found.indices[:3, 0].tolist() == [0, 1, 2]


@pytest.mark.parametrize("threads", [1, 3, 8])
def test_the_number_of_threads_changes_nothing(threads):
    rows = np.concatenate([unit_rows(6 * PART, 32), np.repeat(unit_rows(3, 32, seed=1), PART, axis=0)])
    one, other = compared(rows, 5, threads=1), compared(rows, 5, threads)
    assert one.get_indices().tobytes() == other.get_indices().tobytes()
    assert one.get_products(5).tobytes() == other.get_products(5).tobytes()


@pytest.mark.parametrize("row", [np.zeros(32, np.float32), unit_rows(1, 32)[0]])
def test_of_equal_rows_the_first_are_the_candidates_of_all(row):
    """So all are connected through these, however many there are."""
    lists = compared(np.repeat(row[None], 10 * PART, axis=0), 3)
    assert (lists.get_indices()[3:] == [0, 1, 2]).all()
    assert lists.get_indices()[:3].tolist() == [[1, 2, 3], [0, 2, 3], [0, 1, 3]]


def test_a_thread_takes_no_more_than_its_blocks_are_said_to(monkeypatch):
    monkeypatch.undo()
    rows = unit_rows(2 * all_pairs.PART, 64)
    quantized, lists = Quantizer(rows).quantize(rows), CandidateLists(len(rows), 18)
    tracemalloc.start()
    compare_all(quantized, lists, 1)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < all_pairs.BLOCK_BYTES == all_pairs.estimate_blocks(len(rows), 1)


def test_a_group_is_compared_as_if_it_were_all():
    rows = unit_rows(8 * PART, 32)
    group = np.sort(np.random.default_rng(0).choice(len(rows), 3 * PART + 1, replace=False))
    quantizer, lists = Quantizer(rows), CandidateLists(len(rows), 4)
    compare_group(QuantizedView(rows, quantizer), group, lists)
    of_group = CandidateLists(len(group), 4)
    compare_all(quantizer.quantize(rows[group]), of_group, 1)
    assert (lists.get_indices()[group] == group[of_group.get_indices()]).all()
    assert (np.delete(lists.get_indices(), group, axis=0) == -1).all()
