"""Checkpoints of a search with one index: a killed search resumes with the index and the blocks that it has stored."""

import hashlib
import json
from typing import Any
from zipfile import BadZipFile

import numpy as np

from fastdup_ray.common import layout
from fastdup_ray.common.arrays import DoubleArray, IntArray
from fastdup_ray.errors import DamagedError
from fastdup_ray.storage import Store
from fastdup_ray.storage.checked_json import hash_file, read_json, write_json
from fastdup_ray.storage.feature_rows import locate_features


class SearchCheckpoint:
    """The stored part of a search, below `shards/search` of a work_dir.

    Args:
        store: The work_dir.
        key: Everything that the results depend on. Checkpoints with another key are removed.
    """

    block = 1 << 18
    """Queries in one block. A search of fewer takes minutes at most, and needs no checkpoint."""

    def __init__(self, store: Store, key: dict[str, Any]) -> None:
        text = json.dumps(key, sort_keys=True)
        name = hashlib.sha256(text.encode()).hexdigest()[:16]
        self._store, self._folder = store, f"{layout.SEARCH}/{name}"
        for other in {path.split("/")[2] for path in store.names(layout.SEARCH)} - {name}:
            store.remove(f"{layout.SEARCH}/{other}")

    def find_index(self) -> str | None:
        """Return the SHA-256 of faiss.index, if it is the index that this search has built; else None."""
        if not (self._store.exists(self._index_record) and self._store.exists(layout.FAISS_INDEX)):
            return None
        try:
            recorded = str(read_json(self._store, self._index_record)["sha256"])
        except DamagedError:
            return None
        return recorded if recorded == hash_file(self._store.fetch(layout.FAISS_INDEX)) else None

    def save_index(self, sha256: str) -> None:
        """Record that faiss.index, whose digest is given, is the index of this search."""
        write_json(self._store, self._index_record, {"sha256": sha256})

    def load_block(self, start: int) -> tuple[DoubleArray, IntArray] | None:
        """Return distances and indices, both (m, k), of the block that starts at query `start`; None if not stored."""
        name = self._block_name(start)
        if not self._store.exists(name):
            return None
        try:
            with np.load(self._store.fetch(name)) as arrays:
                return arrays["distance"], arrays["indices"]
        except (BadZipFile, ValueError, EOFError):  # a zip has a checksum of each array
            return None

    def save_block(self, start: int, distance: DoubleArray, indices: IntArray) -> None:
        """Store the distances and indices, both (m, k), of the block that starts at query `start`."""
        with self._store.create(self._block_name(start)) as path, open(path, "wb") as file:
            np.savez(file, distance=distance, indices=indices)

    @property
    def _index_record(self) -> str:
        return f"{self._folder}/index.json"

    def _block_name(self, start: int) -> str:
        return f"{self._folder}/found-{start:012d}.npz"


def get_features_digest(store: Store, features: str) -> str:
    """Return the sha256 of a features file, or of the index of its parts: as it was recorded, else computed."""
    name = locate_features(store, features)
    for record in (layout.MERGED, layout.SUMMARY):
        if store.exists(record) and (digest := read_json(store, record)["sha256"].get(name)):
            return str(digest)
    return hash_file(store.fetch(name))
