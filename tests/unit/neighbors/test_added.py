"""What a search that updates earlier neighbors stands on: equal embeddings are found, few are compared with all."""

import numpy as np
import pytest

from fastdup_ray.neighbors.int8_products import Quantizer, multiply
from fastdup_ray.neighbors.partitioned import embedding_digests
from fastdup_ray.neighbors.partitioned.cell_knn import search_chosen, search_within
from fastdup_ray.neighbors.partitioned.embedding_digests import match_digests
from tests.helpers.embeddings import normalized, unit_rows


def digests(values: list[int]) -> np.ndarray:
    """(n, 2): equal where the values are equal; some differ in one half only."""
    values = np.array(values, np.uint64)
    return np.column_stack([values // np.uint64(3), values])


@pytest.mark.parametrize(
    ("ours", "theirs", "found"),
    [
        ([], [], []),
        ([4, 5], [], [-1, -1]),
        ([], [4], []),
        ([7, 3, 4, 9], [3, 9, 8], [-1, 0, -1, 1]),
        ([5, 5, 5, 4], [4, 5, 6, 5], [1, 3, -1, 0]),
        ([5, 4], [5, 5, 5], [0, -1]),
    ],
)
def test_equal_digests_are_found_in_order_and_each_once(ours, theirs, found):
    assert match_digests(digests(ours), digests(theirs)).tolist() == found


@pytest.mark.parametrize("part", [7, 1_000])
def test_digests_are_found_whatever_the_number_of_parts(part, monkeypatch):
    monkeypatch.setattr(embedding_digests, "DIGESTS_PER_PART", part)
    monkeypatch.setattr(embedding_digests, "READ", 11)
    random = np.random.default_rng(0)
    ours, theirs = (random.integers(0, 60, size).tolist() for size in (200, 150))
    wanted, left = [], dict.fromkeys(range(60), -1)
    for value in ours:
        left[value] = next((i for i in range(left[value] + 1, 150) if theirs[i] == value), 150)
        wanted.append(left[value] if left[value] < 150 else -1)
    assert match_digests(digests(ours), digests(theirs)).tolist() == wanted


@pytest.fixture(scope="module")
def rows() -> np.ndarray:
    """(900, 64): a third are alike to others."""
    alone = unit_rows(600, 64)
    return np.concatenate([alone, normalized(alone[:300] + 0.05 * unit_rows(300, 64, seed=1))])


CHOSEN = np.arange(3, 900, 17)


@pytest.mark.parametrize("threads", [1, 3])
def test_chosen_embeddings_get_the_neighbors_that_they_have_among_all(threads, rows):
    all_of_them = search_within(rows, 3, "cosine", 2)
    own, found = search_chosen(rows, CHOSEN, np.full(900, 2, np.float32), 3, "cosine", threads)
    assert own.tolist() == CHOSEN.tolist()  # no other one has a neighbor that is more similar than equal
    assert (found.index == all_of_them.index[CHOSEN]).all()
    assert (found.distance == all_of_them.distance[CHOSEN]).all()


@pytest.mark.parametrize("hold_quantized", [True, False])
def test_the_others_get_chosen_ones_that_are_as_similar_as_asked_for(hold_quantized, rows):
    least = np.linspace(-1, 1, 900, dtype=np.float32)
    own, found = search_chosen(rows, CHOSEN, least, 3, "cosine", 2, hold_quantized=hold_quantized)
    cosines = np.round(rows.astype(np.float64) @ rows[CHOSEN].astype(np.float64).T, 6)
    others = np.setdiff1d(np.arange(900), CHOSEN)
    nearest = np.sort(cosines, axis=1)[:, -1]
    assert np.isin(others[nearest[others] > least[others]], own).all()
    assert not np.isin(others[nearest[others] < least[others] - 0.04], own).any()
    for row, index, distance in zip(own, found.index, found.distance, strict=True):
        if row in others:
            wanted = np.sort(cosines[row][cosines[row] > least[row]])[::-1][:3]
            assert np.isin(index[index >= 0], CHOSEN).all()
            assert np.abs(distance[: len(wanted)] - wanted).max(initial=0) < 2e-6


@pytest.mark.parametrize("d", [8, 64, 576])
def test_a_product_is_hardly_ever_below_the_least_of_its_cosine(d):
    rows = unit_rows(2000, d)
    quantizer = Quantizer(rows)
    quantized = quantizer.quantize(rows)
    cosines = (rows @ rows.T).ravel()
    products = multiply(quantized, quantized).ravel()
    least = quantizer.to_least_products(cosines)
    assert (products > least).all()
    assert (products - least).mean() < 3 * quantizer.to_product(1) ** 0.5 * 2**0.5
