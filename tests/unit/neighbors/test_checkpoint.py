"""A search by one index that was killed: what it has left is gone on with, if it is of the same search."""

import numpy as np

from fastdup_ray.neighbors.checkpoint import SearchCheckpoint
from fastdup_ray.storage.checked_json import hash_file
from fastdup_ray.storage.local import LocalStore


def test_another_search_takes_nothing_of_a_killed_one(tmp_path):
    store = LocalStore(str(tmp_path))
    SearchCheckpoint(store, {"k": 2}).save_block(0, np.zeros((3, 2)), np.zeros((3, 2), np.int64))
    assert SearchCheckpoint(store, {"k": 2}).load_block(0) is not None
    assert SearchCheckpoint(store, {"k": 3}).load_block(0) is None
    assert SearchCheckpoint(store, {"k": 2}).load_block(0) is None


def test_an_index_that_is_not_the_one_that_was_built_is_built_anew(tmp_path):
    store = LocalStore(str(tmp_path))
    kept = SearchCheckpoint(store, {})
    assert kept.find_index() is None
    (tmp_path / "faiss.index").write_bytes(b"an index")
    kept.save_index(hash_file(tmp_path / "faiss.index"))
    assert kept.find_index() == hash_file(tmp_path / "faiss.index")
    (tmp_path / "faiss.index").write_bytes(b"a damaged one")
    assert kept.find_index() is None


def test_damaged_blocks_and_seals_are_made_again(tmp_path):
    store = LocalStore(str(tmp_path))
    kept = SearchCheckpoint(store, {})
    kept.save_block(0, np.zeros((300, 2)), np.zeros((300, 2), np.int64))
    (tmp_path / "faiss.index").write_bytes(b"an index")
    kept.save_index(hash_file(tmp_path / "faiss.index"))
    for path in (tmp_path / "shards").rglob("*.*"):
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
    assert kept.load_block(0) is None
    assert kept.find_index() is None
