"""A search by one index that goes on where it was killed: with the index once it was built, and what was found."""

import hashlib
import json
from typing import Any
from zipfile import BadZipFile

import numpy as np

from fastdup_ray.common import layout
from fastdup_ray.errors import DamagedError
from fastdup_ray.storage import Store
from fastdup_ray.storage.checked_json import hash_file, read_json, write_json


class SearchCheckpoint:
    """What is left of a search in a work_dir.

    of: whatever the results depend on; what is left of another search is taken away.
    """

    block = 1 << 18
    """Rows of which what was found is one file. A search of so few takes minutes at most, and needs no keeping."""

    def __init__(self, store: Store, of: dict[str, Any]):
        words = json.dumps(of, sort_keys=True)
        name = hashlib.sha256(words.encode()).hexdigest()[:16]
        self._store, self._folder = store, f"{layout.SEARCH}/{name}"
        for other in {path.split("/")[2] for path in store.names(layout.SEARCH)} - {name}:
            store.remove(f"{layout.SEARCH}/{other}")

    def has_index(self) -> bool:
        """Whether faiss.index is the one that this search has built."""
        if not (self._store.exists(self._seal_name) and self._store.exists(layout.FAISS_INDEX)):
            return False
        try:
            built = read_json(self._store, self._seal_name)["sha256"]
        except DamagedError:
            return False
        return built == hash_file(self._store.fetch(layout.FAISS_INDEX))

    def save_index(self) -> None:
        write_json(self._store, self._seal_name, {"sha256": hash_file(self._store.fetch(layout.FAISS_INDEX))})

    def load_block(self, start: int) -> tuple[np.ndarray, np.ndarray] | None:
        """Values and indices, both (m, k), of the block from row `start` on; None where it is to be searched."""
        name = self._block_name(start)
        if not self._store.exists(name):
            return None
        try:
            with np.load(self._store.fetch(name)) as arrays:
                return arrays["distance"], arrays["indices"]
        except (BadZipFile, ValueError, EOFError):  # a zip has a checksum of each array
            return None

    def save_block(self, start: int, distance: np.ndarray, indices: np.ndarray) -> None:
        with self._store.create(self._block_name(start)) as path, open(path, "wb") as file:
            np.savez(file, distance=distance, indices=indices)

    @property
    def _seal_name(self) -> str:
        return f"{self._folder}/index.json"

    def _block_name(self, start: int) -> str:
        return f"{self._folder}/found-{start:012d}.npz"


def get_features_digest(store: Store, features: str) -> str:
    """The sha256 of a features file, as the step that took or made it has checked or computed it; else computed."""
    for described in (layout.MERGED, layout.SUMMARY):
        if store.exists(described) and (known := read_json(store, described)["sha256"].get(features)):
            return known
    return hash_file(store.fetch(features))
