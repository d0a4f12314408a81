"""Find duplicate, near-duplicate, outlier and broken images, from a laptop to a Ray cluster.

Example:
    import fastdup_ray as fastdup

    result = fastdup.deduplicate("photos/", work_dir="out")
    result.duplicates.to_pandas()
"""

import warnings
from typing import Any

import lazy_loader

from fastdup_ray.version import __version__

# Each name is imported when it is first used: a worker that only extracts needs no graphs and no pages.
_load, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "curation.apply": ["ApplyResult", "apply_plan"],
        "curation.dataset": ["DatasetResult", "build_dataset"],
        "curation.make_plan": ["make_plan"],
        "curation.undo": ["UndoResult", "undo"],
        "api": ["deduplicate", "run"],
        "config": ["RunConfig"],
        "errors": ["FastdupError"],
        "evaluation.leakage": ["Leakage", "leakage"],
        "export": ["export"],
        "export.clusters": ["ClusterResult", "cluster_images"],
        "export.split": ["SplitResult", "split_dataset"],
        "export.subset": ["SubsetResult", "select_subset"],
        "features": ["load_binary", "load_binary_feature", "load_binary_features", "save_binary_feature"],
        "model_export": ["ModelExportResult", "export_model"],
        "report.cluster_gallery": ["create_clusters_gallery"],
        "report.embedding_map": ["create_embedding_map"],
        "report.regenerate": ["make_pages"],
        "report.galleries": [
            "create_components_gallery",
            "create_duplicates_gallery",
            "create_outliers_gallery",
            "generate_duplicates_gallery",
        ],
        "report.image_galleries": ["create_similarity_gallery", "create_stats_gallery"],
        "result": ["RunResult"],
        "verify.compare": ["Comparison", "compare"],
    },
)
__all__ += ["__version__"]

_RENAMED = {"Applied": "ApplyResult", "Built": "DatasetResult", "Undone": "UndoResult"}
"""Old names of public classes, which work for one minor release."""


def __getattr__(name: str) -> Any:
    if name in _RENAMED:
        new = _RENAMED[name]
        warnings.warn(
            f"fastdup_ray.{name} is now {new}; the old name will be removed.", DeprecationWarning, stacklevel=2
        )
        name = new
    return _load(name)
