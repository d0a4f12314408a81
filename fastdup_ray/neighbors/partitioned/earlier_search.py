"""What is kept of a partitioned search so that a later one can update its neighbors: see `added`.

Beside the neighbors (`kept_neighbors`) these are the digest of each embedding, the centers of the cells, and in the
record the parameters and how many images have changed since all were searched.
"""

from dataclasses import dataclass
from typing import Any
from zipfile import ZipFile, ZipInfo

import numpy as np

from fastdup_ray.common import layout
from fastdup_ray.common.layout import INDEXED
from fastdup_ray.common.records import Neighbors
from fastdup_ray.errors import DamagedError
from fastdup_ray.neighbors.kept_neighbors import keep_neighbors
from fastdup_ray.neighbors.neighbor_files import StoredNeighbors
from fastdup_ray.neighbors.partitioned.cell_files import format_centers_folder
from fastdup_ray.neighbors.partitioned.embedding_digests import DigestArray, map_digests
from fastdup_ray.neighbors.partitioned.partition_layout import PartitionLayout
from fastdup_ray.storage import Store
from fastdup_ray.storage.checked_json import check_digest, hash_file, read_json

MOST_CHANGED = 0.05
"""Share of the images that may be new or removed since the last search of all, and that may have to be searched.

The centers are of the images that were there then. To compare more images with all of a large cell takes as long as to
search all of it."""


@dataclass(frozen=True)
class EarlierSearch:
    """A search whose neighbors are kept.

    Attributes:
        digest: The sha256 of its record.
        n: Its images.
        full: Images of the last search of all.
        changed: Images that were new or removed since.
        sha256: The digests of its files.
    """

    digest: str
    n: int
    full: int
    changed: int
    sha256: dict[str, str]

    def allows(self, changed: int, searched: int, n: int) -> bool:
        """Return whether its neighbors can be updated.

        Args:
            changed: Images that are new or were removed since this search.
            searched: Images to search.
            n: Images that there are now.
        """
        return self.changed + changed <= MOST_CHANGED * self.full and searched <= MOST_CHANGED * n


def find_earlier(store: Store, partitioning: PartitionLayout, code: dict[str, str]) -> EarlierSearch | None:
    """Return the search that a work_dir keeps, if another one can update its neighbors.

    Args:
        store: The work_dir.
        partitioning: The layout of the other search.
        code: What neighbors depend on besides features and parameters.
    """
    try:
        record = read_json(store, layout.KEPT_NEIGHBORS)
    except (DamagedError, FileNotFoundError):
        return None
    search = record.get("search")
    if search is None or search["parameters"] != partitioning.parameters | code:
        return None
    digest = hash_file(store.fetch(layout.KEPT_NEIGHBORS))
    earlier = EarlierSearch(digest, search["n"], search["full"], search["changed"], record["sha256"])
    return earlier if earlier.allows(abs(partitioning.n - earlier.n), 0, partitioning.n) else None


def keep_search(
    store: Store, key: dict[str, Any], neighbors: StoredNeighbors, partitioning: PartitionLayout, code: dict[str, str]
) -> StoredNeighbors:
    """Keep the neighbors of a partitioned search as `keep_neighbors` does, and what is needed to update them.

    Args:
        store: The work_dir.
        key: See `load_kept_neighbors`.
        neighbors: What was found.
        partitioning: The layout of the search, whose files are still there.
        code: See `find_earlier`.
    """
    with store.create(layout.KEPT_DIGESTS) as path, open(path, "wb") as file:
        np.save(file, map_digests(store, partitioning))
    _keep_centers(store, partitioning)
    added = neighbors.summary.get("added")
    search = {
        "parameters": partitioning.parameters | code,
        "n": partitioning.n,
        "full": added["last_full"] if added else partitioning.n,
        "changed": added["changed_since"] if added else 0,
    }
    return keep_neighbors(store, key, neighbors, search)


def _keep_centers(store: Store, partitioning: PartitionLayout) -> None:
    """Keep the files with the centers of all cells as one, a zip."""
    with store.create(layout.KEPT_CENTERS) as path, ZipFile(path, "w") as kept:
        for name in store.names(folder := format_centers_folder(partitioning)):
            kept.writestr(ZipInfo(name.removeprefix(f"{folder}/")), store.fetch(name).read_bytes())


def restore_centers(store: Store, partitioning: PartitionLayout) -> None:
    """Write the files that `keep_search` has kept into the folder of a search, which then need not learn them."""
    with ZipFile(store.fetch(layout.KEPT_CENTERS)) as kept:
        for name in kept.namelist():
            with store.create(f"{format_centers_folder(partitioning)}/{name}") as path:
                path.write_bytes(kept.read(name))


def open_earlier(store: Store, partitioning: PartitionLayout, earlier: EarlierSearch) -> tuple[DigestArray, Neighbors]:
    """Map the digests and the neighbors of the embeddings of an earlier search.

    Raises:
        DamagedError: A file is not as it was written.
        FileNotFoundError: A file is missing.
    """
    for name in set(layout.KEPT_FILES) & earlier.sha256.keys():
        check_digest(store, name, earlier.sha256[name])
    digests: DigestArray = np.load(store.fetch(layout.KEPT_DIGESTS), mmap_mode="r")
    return digests, StoredNeighbors({}, partitioning.metric, INDEXED, kept=True).open(store)
