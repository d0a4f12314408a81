"""Rows in parts: they read like one array."""

from pathlib import Path

import numpy as np
import pytest

from fastdup_ray.common.layout import FEATURES, FEATURES_INDEX, locate_index
from fastdup_ray.errors import DamagedError
from fastdup_ray.features import write_embeddings
from fastdup_ray.storage import feature_rows, open_store
from fastdup_ray.storage.feature_parts import FeaturePart, PartIndex, join_runs, read_index, write_index
from fastdup_ray.storage.feature_rows import map_features, map_whole, open_parts, open_range_reader
from fastdup_ray.storage.local import LocalStore

PARTS, ROWS, D, HEAD = 40, 10, 3, 7


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return open_store(str(tmp_path))


@pytest.fixture
def rows(store: LocalStore) -> np.ndarray:
    """Rows in parts, in an order in which runs of all lengths alternate between the parts; some rows are not used."""
    generator, parts, stored = np.random.default_rng(3), [], []
    for number in range(PARTS):
        own = generator.standard_normal((ROWS, D)).astype(np.float32)
        name = f"features.parts/{number}.shard"
        with store.create(name) as path:
            digest = write_embeddings(path, [own])
            path.write_bytes(bytes(HEAD) + path.read_bytes())
        parts.append(FeaturePart(name, HEAD, ROWS, digest))
        stored.append(own)
    part, first = np.repeat(np.arange(PARTS), ROWS), np.tile(np.arange(ROWS), PARTS)
    pieces = np.array_split(np.arange(PARTS * ROWS), 90)
    order = np.concatenate([pieces[i] for i in generator.permutation(90)[:70]])
    runs = join_runs(part[order], first[order], np.ones(len(order), np.int64))
    with store.create(FEATURES_INDEX) as path:
        write_index(path, PartIndex(D, tuple(parts), *runs))
    return np.concatenate(stored)[order]


@pytest.mark.parametrize("at_once", [1, 4])
def test_parts_read_like_an_array(at_once, store, rows, monkeypatch):
    """at_once: 4 as in a bucket, where few rows are read without their part."""
    monkeypatch.setattr(LocalStore, "at_once", at_once)
    features, n = map_features(store, FEATURES, D), len(rows)
    assert features.shape == rows.shape
    assert len(features) == n
    generator = np.random.default_rng(0)
    some = generator.integers(-n, n, (20, 5))
    keys = [slice(None), slice(3, 3), slice(1, None), slice(-5, None), slice(10, 200, 7), slice(None, None, -1)]
    keys += [some, some[:, :1], some[:0], some[0, 0], np.arange(n), np.array([5, 5, -1]), slice(n - 1, 10 * n)]
    for key in keys:
        np.testing.assert_array_equal(features[key], rows[key])
    for start in range(0, n, 9):
        np.testing.assert_array_equal(features[start : start + 13], rows[start : start + 13])
    for outside in (n, -n - 1):
        with pytest.raises(IndexError):
            features[np.array([outside])]
    np.testing.assert_array_equal(map_whole(store, FEATURES, D), rows)
    np.testing.assert_array_equal(open_range_reader(store, FEATURES, D)(4, 30), rows[4:30])


def test_few_rows_in_a_bucket_take_no_part(store, rows, monkeypatch):
    monkeypatch.setattr(LocalStore, "at_once", 4)
    read = []
    read_part = LocalStore.read
    monkeypatch.setattr(
        LocalStore, "read", lambda store, name, start, size: read.append(size) or read_part(store, name, start, size)
    )
    monkeypatch.setattr(feature_rows, "FETCHED_SHARE", 1)
    features = map_features(store, FEATURES, D)
    features[np.array([3, 50, 90, 90, 200])]
    assert sum(read) <= 5 * 4 * D
    features[4:30]
    assert sum(read) <= (5 + 26) * 4 * D
    assert not features._maps


def test_few_parts_are_mapped(store, rows):
    features = map_features(store, FEATURES, D)
    features[:]
    features[np.arange(len(rows))[::-1]]
    assert len(features._maps) == feature_rows.MAPPED_PARTS < PARTS


def test_damaged_parts_are_refused_once_they_are_read(store, rows):
    index = read_index(store.fetch(FEATURES_INDEX))
    damaged = int(index.part[-1])
    path = store.root / index.parts[damaged].name
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    features = open_parts(store, FEATURES_INDEX, D, check=True)
    other = np.flatnonzero(np.repeat(index.part, index.count) != damaged)
    np.testing.assert_array_equal(features[other], rows[other])
    with pytest.raises(DamagedError):
        features[-1:]
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DamagedError):
        map_features(store, FEATURES, D)[:]


@pytest.mark.parametrize("column", ["first", "count", "part"])
def test_an_index_that_leads_out_of_its_parts_is_damaged(column, store, rows):
    path = store.fetch(FEATURES_INDEX)
    index = read_index(path)
    runs = {name: getattr(index, name).copy() for name in ("part", "first", "count")}
    if column == "part":
        path.write_bytes(b"PAR1")
    else:
        runs[column][5] = ROWS + 1 if column == "first" else 0
        write_index(path, PartIndex(D, index.parts, *runs.values()))
    with pytest.raises(DamagedError):
        map_features(store, FEATURES, D)


def test_another_width_is_refused(store, rows):
    with pytest.raises(DamagedError):
        map_features(store, FEATURES, D + 1)


def runs_of(index: PartIndex) -> list[tuple[FeaturePart, int, int]]:
    runs = zip(index.part.tolist(), index.first.tolist(), index.count.tolist(), strict=True)
    return [(index.parts[part], first, count) for part, first, count in runs]


def test_an_index_survives_a_round_trip(store, rows, monkeypatch):
    index = read_index(store.fetch(FEATURES_INDEX))
    for size in (1 << 16, 7):
        monkeypatch.setattr("fastdup_ray.storage.feature_parts.ROWS_PER_BLOCK", size)
        with store.create("copy.parquet") as path:
            write_index(path, index)
        again = read_index(store.fetch("copy.parquet"))
        assert runs_of(again) == runs_of(index)
    with store.create("empty.parquet") as path:
        write_index(path, PartIndex(D, (), *(np.empty(0, np.int64),) * 3))
    assert read_index(store.fetch("empty.parquet")).shape == (0, 0)


def test_each_features_file_has_a_folder_of_its_own():
    assert [locate_index(name) for name in (FEATURES, "test_features.dat", "own")] == [
        "features.parts/index.parquet",
        "test_features.parts/index.parquet",
        "own.parts/index.parquet",
    ]
