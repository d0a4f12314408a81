"""Whole groups go into one part, in proportion; a subset is near everything."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastdup_ray.errors import ConfigError
from fastdup_ray.export.split import PARTS, assign_parts, parse_parts
from fastdup_ray.export.subset import choose_diverse
from fastdup_ray.storage import feature_rows

SHARES = [0.8, 0.1, 0.1]


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 3)), max_size=200), st.integers(0, 2**32 - 1))
def test_no_group_is_in_two_parts(images, seed):
    group, label = np.array(images, np.int64).reshape(-1, 2).T
    rank = np.random.default_rng(seed).permutation(len(group))
    part = assign_parts(group, label, rank, SHARES)
    assert part.shape == group.shape
    assert set(part.tolist()) <= {0, 1, 2}
    assert all(len(set(part[group == number].tolist())) == 1 for number in set(group.tolist()))


@given(st.integers(0, 2**32 - 1))
def test_each_label_has_its_share_in_each_part(seed):
    rng = np.random.default_rng(seed)
    label = np.repeat([0, 1, 2], [1000, 200, 50])
    part = assign_parts(np.arange(1250), label, rng.permutation(1250), SHARES)
    for number, total in enumerate([1000, 200, 50]):
        counts = np.bincount(part[label == number], minlength=3)
        assert np.abs(counts - np.array(SHARES) * total).max() < 1


def test_another_order_gives_another_split():
    rng, label = np.random.default_rng(1), np.zeros(500, np.int64)
    first, second = (assign_parts(np.arange(500), label, rng.permutation(500), SHARES) for _ in range(2))
    assert (first != second).mean() > 0.2


def test_groups_of_several_sizes_fill_the_parts_evenly():
    group = np.repeat(np.arange(100), np.random.default_rng(2).integers(1, 9, 100))
    part = assign_parts(group, np.zeros(len(group), np.int64), np.arange(len(group)), [0.5, 0.5])
    counts = np.bincount(part)
    assert abs(counts[0] - counts[1]) <= 1


@pytest.mark.parametrize(
    "text", ["", "train", "train=", "=1", "train=1,train=0", "train=0.5,test=0.4", "a=2,b=-1", "a=nan", "a=0,b=1"]
)
def test_parts_that_do_not_add_up_are_refused(text):
    with pytest.raises(ConfigError):
        parse_parts(text)


def test_parts_keep_their_order():
    assert list(parse_parts(PARTS)) == ["train", "val", "test"]
    assert parse_parts(" a = 0.25 , b=0.75") == {"a": 0.25, "b": 0.75}


def test_a_subset_has_one_of_each_cluster():
    rng = np.random.default_rng(3)
    centers = np.linalg.qr(rng.normal(size=(16, 16)))[0][:5]
    cluster = np.repeat(np.arange(5), [100, 50, 20, 5, 1])
    features = (centers[cluster] + rng.normal(0, 0.01, (len(cluster), 16))).astype(np.float32)
    rows, reach = choose_diverse(features, 5)
    assert sorted(cluster[rows]) == [0, 1, 2, 3, 4]
    assert cluster[rows[0]] == 0
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    assert reach == pytest.approx((unit @ unit[rows].T).max(axis=1).min(), abs=1e-3)


def test_a_subset_does_not_depend_on_how_the_embeddings_are_read(monkeypatch):
    features = np.random.default_rng(5).normal(size=(100, 16)).astype(np.float32)
    rows, reach = choose_diverse(features, 20)
    monkeypatch.setattr(feature_rows, "BYTES_PER_BLOCK", 7 * features[0].nbytes)
    again, same = choose_diverse(features, 20)
    assert rows.tolist() == again.tolist()
    assert reach == pytest.approx(same, abs=1e-6)


@pytest.mark.parametrize(("n", "k", "count"), [(0, 3, 0), (1, 1, 1), (4, 9, 4)])
def test_a_subset_is_no_larger_than_the_run(n, k, count):
    features = np.random.default_rng(4).normal(size=(n, 8)).astype(np.float32)
    rows, _ = choose_diverse(features, k)
    assert len(set(rows.tolist())) == len(rows) == count
