"""Embeddings as places on a map."""

import sys

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from fastdup_ray.analysis.projection import METHODS, choose_rows, project
from fastdup_ray.errors import ConfigError
from tests.helpers.embeddings import normalized


def make_groups(count: int = 4, size: int = 50, d: int = 32) -> tuple[np.ndarray, np.ndarray]:
    """Embeddings around a few centers, and the number of the center of each."""
    rng, group = np.random.default_rng(0), np.repeat(np.arange(count), size)
    centers = normalized(rng.standard_normal((count, d)))
    return normalized(centers[group] + 0.02 * rng.standard_normal((len(group), d))), group


def test_a_sample_is_always_the_same_and_in_order():
    rows = choose_rows(1000, 100)
    assert len(set(rows.tolist())) == 100
    assert (np.diff(rows) > 0).all()
    assert rows.max() > 900
    assert (rows == choose_rows(1000, 100)).all()
    assert choose_rows(7, 100).tolist() == list(range(7))


def check_groups(method: str) -> None:
    embeddings, group = make_groups()
    places = project(embeddings, method).places
    assert places.shape == (200, 2)
    assert places.min() == 0
    assert places.max() == 1
    middle = np.stack([places[group == number].mean(axis=0) for number in range(4)])
    nearest = np.linalg.norm(places[:, None] - middle[None], axis=2).argmin(axis=1)
    assert (nearest == group).all()


def test_pca_keeps_groups_together_and_knows_its_share_of_the_variance():
    check_groups("pca")
    embeddings, _ = make_groups()
    centered = (embeddings - embeddings.mean(axis=0)).astype(np.float64)
    values = np.sort(np.linalg.eigvalsh(centered.T @ centered))
    assert project(embeddings, "pca").variance == pytest.approx(values[-2:].sum() / values.sum(), abs=1e-4)


def test_umap_keeps_groups_together_and_gives_the_same_map_again():
    pytest.importorskip("umap")
    check_groups("umap")
    embeddings, _ = make_groups()
    assert (project(embeddings, "umap").places == project(embeddings, "umap").places).all()
    assert project(embeddings[:3], "umap").places.shape == (3, 2)


def test_the_number_of_threads_changes_nothing():
    embeddings, _ = make_groups(size=500)
    first = project(embeddings, "pca").places
    with threadpool_limits(2):
        assert (project(embeddings, "pca").places == first).all()


@pytest.mark.parametrize("embeddings", [np.ones((1, 8)), np.ones((5, 8)), np.zeros((3, 8)), np.ones((2, 1))])
def test_embeddings_that_do_not_differ_are_in_one_place(embeddings):
    projection = project(embeddings.astype(np.float32), "pca")
    assert (projection.places == 0).all()
    assert projection.variance is None


def test_a_missing_package_is_named_with_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "umap", None)
    with pytest.raises(ConfigError, match=r"fastdup-ray\[map\]"):
        METHODS["umap"](np.ones((5, 8), np.float32))
