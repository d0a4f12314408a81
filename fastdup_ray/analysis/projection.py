"""Embeddings as places on a map."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from fastdup_ray.common.arrays import FloatArray, IntArray
from fastdup_ray.errors import ConfigError
from fastdup_ray.system.threads import single_threaded_libraries

NEIGHBORS = 15
"""Neighbors of a point that UMAP keeps near it: its default."""


@dataclass(frozen=True)
class Projection:
    """Places of m embeddings.

    Attributes:
        places: (m, 2) float32; the wider axis from 0 to 1, the other one from 0, in the same unit.
        variance: Share of the variance that both axes have, 0 to 1; None where the axes have no such meaning.
    """

    places: FloatArray
    variance: float | None


def choose_rows(n: int, limit: int) -> IntArray:
    """Choose rows at random, always the same ones of the same number.

    Returns:
        (min(n, limit),) int64, ascending.
    """
    if n <= limit:
        return np.arange(n)
    rows: IntArray = np.sort(np.random.default_rng(0).choice(n, limit, replace=False))
    return rows


def project(embeddings: FloatArray, method: str) -> Projection:
    """Project embeddings to two dimensions. The result does not depend on the number of threads.

    Args:
        embeddings: (m, d) float32 of unit length, m > 0.
        method: One of `METHODS`.

    Raises:
        ConfigError: The package of the method is not installed.
    """
    with single_threaded_libraries():
        places, variance = METHODS[method](embeddings)
    places = places - places.min(axis=0)
    return Projection((places / (places.max() or 1)).astype(np.float32), variance)


def _project_by_pca(embeddings: FloatArray) -> tuple[FloatArray, float | None]:
    from sklearn.decomposition import PCA  # takes a second, which only this needs

    width = min(2, *embeddings.shape)
    places = np.zeros((len(embeddings), 2), np.float32)
    if np.ptp(embeddings, axis=0).max() == 0:  # there is no variance to explain
        return places, None
    axes = PCA(width, svd_solver="covariance_eigh").fit(embeddings)
    places[:, :width] = axes.transform(embeddings)
    return places, float(axes.explained_variance_ratio_.sum())


def _project_by_umap(embeddings: FloatArray) -> tuple[FloatArray, float | None]:
    try:
        import umap
    except ImportError:
        raise ConfigError("A map by umap needs the extra map: pip install 'fastdup-ray[map]'.") from None
    if len(embeddings) <= 3:  # too few for a graph of neighbors
        return _project_by_pca(embeddings)[0], None
    neighbors = min(NEIGHBORS, len(embeddings) - 1)
    layout = umap.UMAP(n_neighbors=neighbors, metric="cosine", init="pca", random_state=0, n_jobs=1)
    return np.asarray(layout.fit_transform(embeddings), np.float32), None


METHODS: dict[str, Callable[[FloatArray], tuple[FloatArray, float | None]]] = {
    "pca": _project_by_pca,
    "umap": _project_by_umap,
}
"""By the name that a caller gives."""
