"""Finds copies, near copies, outliers and broken pictures among ten thousand to a billion images, on Ray.

import fastdup_ray as fastdup

fastdup.run("photos/", work_dir="out", threshold=0.85)
"""

from fastdup_ray.api import run
from fastdup_ray.config import RunConfig
from fastdup_ray.errors import FastdupError
from fastdup_ray.features import load_binary_feature, save_binary_feature
from fastdup_ray.pipeline import deduplicate
from fastdup_ray.report.galleries import (
    create_components_gallery,
    create_duplicates_gallery,
    create_outliers_gallery,
    generate_duplicates_gallery,
)
from fastdup_ray.result import RunResult
from fastdup_ray.version import __version__

load_binary_features = load_binary = load_binary_feature

__all__ = [
    "FastdupError",
    "RunConfig",
    "RunResult",
    "__version__",
    "create_components_gallery",
    "create_duplicates_gallery",
    "create_outliers_gallery",
    "deduplicate",
    "generate_duplicates_gallery",
    "load_binary",
    "load_binary_feature",
    "load_binary_features",
    "run",
    "save_binary_feature",
]
