"""Neighbors that stay in a work_dir: a run with the same features and the same search need not search again.

The arrays count only with the record beside them, which is written last and has their digests.
"""

from dataclasses import asdict, replace
from typing import Any

from fastdup_ray.common import layout
from fastdup_ray.common.layout import INDEXED
from fastdup_ray.errors import DamagedError
from fastdup_ray.neighbors.neighbor_files import StoredNeighbors
from fastdup_ray.neighbors.search_plan import FEW, SearchPlan
from fastdup_ray.storage import Store
from fastdup_ray.storage.checked_json import check_digest, hash_file, read_json, write_json

KEPT_ABOVE = FEW
"""Images above which neighbors are kept. To search fewer takes no noticeable time."""


def load_kept_neighbors(store: Store, key: dict[str, Any]) -> StoredNeighbors | None:
    """Return the neighbors that a work_dir keeps.

    Args:
        store: The work_dir.
        key: Everything that they depend on.

    Returns:
        The neighbors; None if there are none with this key, or a file of theirs, or faiss.index, is damaged.
    """
    try:
        record = read_json(store, layout.KEPT_NEIGHBORS)
        if record["key"] == key:
            for name, sha256 in record["sha256"].items():
                check_digest(store, name, sha256)
            plan = SearchPlan(**record["plan"]) if record["plan"] else None
            summary = record["summary"] | {"reused": True}
            summary.pop("seconds", None)
            index_sha256 = record["sha256"].get(layout.FAISS_INDEX)
            return StoredNeighbors(summary, record["metric"], INDEXED, plan, index_sha256, kept=True)
    except (DamagedError, FileNotFoundError):
        pass
    return None


def keep_neighbors(
    store: Store, key: dict[str, Any], neighbors: StoredNeighbors, search: dict[str, Any] | None = None
) -> StoredNeighbors:
    """Record that neighbors whose arrays are in the place of those that are kept are complete; return them.

    Args:
        store: The work_dir.
        key: See `load_kept_neighbors`.
        neighbors: What was found, with the digest of faiss.index if there is one.
        search: Of a partitioned search, what `earlier_search` has to know to add images to it.
    """
    sha256 = {name: hash_file(store.fetch(name)) for name in layout.KEPT_FILES if store.exists(name)}
    if neighbors.index_sha256:
        sha256[layout.FAISS_INDEX] = neighbors.index_sha256
    record = {
        "key": key,
        "sha256": sha256,
        "metric": neighbors.metric,
        "summary": neighbors.summary,
        "plan": asdict(neighbors.plan) if neighbors.plan else None,
        "search": search,
    }
    write_json(store, layout.KEPT_NEIGHBORS, record)
    return replace(neighbors, kept=True)


def remove_kept_neighbors(store: Store) -> None:
    """Remove the neighbors that a work_dir keeps, the record first."""
    if store.is_file(layout.KEPT_ARRAYS["indices"]):
        for name in (layout.KEPT_NEIGHBORS, *reversed(layout.KEPT_FILES)):
            store.remove(name)
