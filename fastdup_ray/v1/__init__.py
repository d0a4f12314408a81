"""The object API of fastdup 1 and 2, for notebooks that were written for it.

Example:
    import fastdup_ray.v1 as fastdup

    fd = fastdup.create(work_dir="out", input_dir="photos/")
    fd.run()
    fd.vis.duplicates_gallery()

The functions of `fastdup_ray` are here as well: `fastdup.run`, `fastdup.load_binary_feature`, and so on. Data frames
need pandas. docs/compatibility.md has what is different.
"""

from typing import Any

import fastdup_ray
from fastdup_ray.v1.analysis import Analysis, create
from fastdup_ray.v1.galleries import Galleries
from fastdup_ray.version import __version__

__all__ = ["Analysis", "Galleries", "__version__", "create"]

_NAMES = {"create_kmeans_clusters_gallery": "create_clusters_gallery"}
"""Functions that have another name here."""


def __getattr__(name: str) -> Any:
    return getattr(fastdup_ray, _NAMES.get(name, name))
