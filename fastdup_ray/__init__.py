"""Finds copies, near copies, outliers and broken pictures among ten thousand to a billion images, on Ray.

Example:
    import fastdup_ray as fastdup

    fastdup.run("photos/", work_dir="out", threshold=0.85)
"""

import lazy_loader

from fastdup_ray.version import __version__

# Each name is imported when it is first used: a worker that only extracts would spend a second on graphs and pages.
__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "curation.apply": ["ApplyResult", "apply_plan"],
        "curation.dataset": ["DatasetResult", "build_dataset"],
        "curation.make_plan": ["make_plan"],
        "curation.undo": ["UndoResult", "undo"],
        "api": ["run"],
        "config": ["RunConfig"],
        "errors": ["FastdupError"],
        "evaluation.leakage": ["Leakage", "leakage"],
        "export": ["export"],
        "features": ["load_binary", "load_binary_feature", "load_binary_features", "save_binary_feature"],
        "runs.pipeline": ["deduplicate"],
        "report.regenerate": ["make_pages"],
        "report.galleries": [
            "create_components_gallery",
            "create_duplicates_gallery",
            "create_outliers_gallery",
            "generate_duplicates_gallery",
        ],
        "result": ["RunResult"],
    },
)
__all__ += ["__version__"]
