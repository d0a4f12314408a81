"""Clusters of embeddings, and their labels."""

from collections import Counter

import numpy as np
import pyarrow as pa
import pytest

from fastdup_ray.analysis.clusters import Clusters, choose_count, find_clusters
from fastdup_ray.storage.tables import TextNumbers
from tests.helpers.embeddings import normalized


def make_groups(sizes: list[int], d: int = 32) -> tuple[np.ndarray, np.ndarray]:
    """Embeddings around a few centers, shuffled, and the number of the center of each."""
    rng = np.random.default_rng(0)
    group = rng.permutation(np.repeat(np.arange(len(sizes)), sizes))
    centers = normalized(rng.standard_normal((len(sizes), d)))
    return normalized(centers[group] + 0.02 * rng.standard_normal((len(group), d))), group


def test_groups_are_found_and_numbered_by_size():
    embeddings, group = make_groups([30, 80, 50])
    clusters = find_clusters(embeddings, [embeddings[:70], embeddings[70:]], 3)
    assert clusters.sizes.tolist() == [80, 50, 30]
    assert (np.array([2, 0, 1])[group] == clusters.cluster).all()
    centers = np.stack([embeddings[clusters.cluster == number].mean(axis=0) for number in range(3)])
    expected = (embeddings * normalized(centers)[clusters.cluster]).sum(axis=1)
    assert clusters.similarity == pytest.approx(expected, abs=1e-3)


def test_equal_embeddings_need_fewer_clusters():
    embeddings = normalized(np.ones((5, 8)))
    clusters = find_clusters(embeddings, [embeddings], 3)
    assert len(set(clusters.cluster.tolist())) == 1
    assert clusters.cluster.max() == 0
    assert find_clusters(embeddings[:1], [embeddings[:1]], 7).cluster.tolist() == [0]


def test_the_label_of_a_cluster_is_the_most_frequent_one():
    rng = np.random.default_rng(0)
    cluster = rng.integers(0, 5, 200)
    labels = [None if cluster[row] == 4 or row % 7 == 0 else "abc"[rng.integers(3)] for row in range(200)]
    texts = TextNumbers()
    label = texts.encode(pa.array(labels))
    clusters = Clusters(cluster, np.ones(200), label, texts.texts)
    assert [clusters.get_label(row) for row in range(200)] == labels
    found = [None if number < 0 else texts.texts[number] for number in clusters.find_labels().tolist()]
    for number in range(4):
        own = Counter(label for label, where in zip(labels, cluster, strict=True) if where == number and label)
        assert found[number] == min(own, key=lambda label: (-own[label], label))
    assert found[4] is None
    expected = [label is not None and label != found[where] for label, where in zip(labels, cluster, strict=True)]
    assert clusters.find_minority().tolist() == expected
    assert 0 < sum(expected) < 200


def test_without_labels_nothing_is_said_of_them():
    clusters = Clusters(np.array([0, 0, 1]), np.ones(3))
    assert clusters.find_labels().tolist() == [-1, -1]
    assert clusters.get_label(0) is None
    assert not clusters.find_minority().any()


@pytest.mark.parametrize(("n", "count"), [(1, 1), (2, 1), (200, 10), (5000, 50), (10**9, 1000)])
def test_the_number_of_clusters_grows_with_the_root(n, count):
    assert choose_count(n) == count
