"""What a search has missed is found, whatever the embeddings are and however little it has found."""

import numpy as np
import pytest

from fastdup_ray.neighbors import exact_distances
from fastdup_ray.neighbors.exact_distances import find_closer, merge_nearest
from fastdup_ray.neighbors.int8_products import Quantizer, multiply
from fastdup_ray.neighbors.metrics import compute_values, from_cosine, to_cosine, to_score
from tests.helpers.embeddings import normalized, unit_rows

M, N, D, K = 150, 4000, 48, 3


def make_uneven() -> np.ndarray:
    """A few large numbers set the scale, so that those of all other embeddings are rounded to a few levels."""
    rows = normalized(1 + 0.1 * unit_rows(N, D, seed=4) * D**0.5)
    rows[::50] = np.eye(D, dtype=np.float32)[np.arange(N // 50) % D]
    return rows


EMBEDDINGS = {
    "at random": unit_rows(N, D),
    "equal ones": np.concatenate([unit_rows(N - 1500, D), np.repeat(unit_rows(1, D, seed=2), 1500, axis=0)]),
    "of few values": normalized((unit_rows(N, D, seed=3) > 0.2).astype(np.float32) + np.eye(1, D, dtype=np.float32)),
    "uneven": make_uneven(),
}


def search_first(embeddings: np.ndarray, own: np.ndarray, metric: str, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Indices and distances of the K nearest of each query among the first embeddings."""
    candidates = np.broadcast_to(np.arange(count), (len(own), count))
    candidates = np.where(candidates == own[:, None], -1, candidates)
    values = compute_values(embeddings[own], embeddings, candidates, metric)
    order = np.argsort(-to_score(values, metric), axis=1, kind="stable")[:, :K]
    return np.take_along_axis(candidates, order, 1), np.take_along_axis(values, order, 1)


@pytest.mark.parametrize("metric", ["cosine", "euclidean", "squared_euclidean"])
@pytest.mark.parametrize("name", EMBEDDINGS)
def test_with_what_was_missed_the_nearest_are_those_of_an_exact_search(name, metric, monkeypatch):
    monkeypatch.setattr(exact_distances, "BLOCK", 500)
    monkeypatch.setattr(exact_distances, "PART", 60)
    embeddings = EMBEDDINGS[name]
    own = np.sort(np.random.default_rng(0).choice(N, M, replace=False))
    true = search_first(embeddings, own, metric, N)[1]
    for count in (N, N // 3, 2):
        index, distance = search_first(embeddings, own, metric, count) if count > 2 else (np.full((M, K), -1),) * 2
        distance = np.where(index < 0, np.nan, distance)
        excluded = np.column_stack([own, index])
        closer = [find_closer(embeddings[own], embeddings, excluded, distance, metric, threads) for threads in (1, 3)]
        assert closer[0].tobytes() == closer[1].tobytes()
        assert merge_nearest(distance, closer[0], metric).tobytes() == true.tobytes()


def test_the_blocks_of_embeddings_can_be_compared_one_by_one():
    embeddings, own = EMBEDDINGS["at random"], np.arange(0, N, 20)
    index, distance = search_first(embeddings, own, "cosine", 100)
    merged = distance
    for start in range(0, N, 999):
        excluded = np.column_stack([own, index]) - start
        part = find_closer(embeddings[own], embeddings[start : start + 999], excluded, distance, "cosine", 1)
        merged = merge_nearest(merged, part, "cosine")
    assert (merged == search_first(embeddings, own, "cosine", N)[1]).all()


@pytest.mark.parametrize("name", EMBEDDINGS)
def test_no_product_has_lost_more_than_the_bound(name):
    embeddings = EMBEDDINGS[name]
    queries = embeddings[::40]
    quantizer = Quantizer(embeddings, queries)
    products = multiply(quantizer.quantize(queries), quantizer.quantize(embeddings))
    true = quantizer.to_product(queries.astype(np.float64) @ embeddings.T)
    assert (np.abs(products - true) <= quantizer.bound_errors(queries)[:, None]).all()


@pytest.mark.parametrize("metric", ["cosine", "euclidean", "squared_euclidean"])
def test_the_cosine_of_a_distance(metric):
    assert to_cosine(np.array([from_cosine(0.3, metric)]), metric) == pytest.approx(0.3)
