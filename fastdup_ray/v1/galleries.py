"""The galleries of an analysis."""

import os
from typing import Any

from fastdup_ray.errors import ConfigError
from fastdup_ray.report.galleries import (
    create_components_gallery,
    create_duplicates_gallery,
    create_outliers_gallery,
)
from fastdup_ray.report.image_galleries import METRICS, create_similarity_gallery, create_stats_gallery

FOLDER = "galleries"
"""Folder in the work_dir that galleries are written to if nothing is said."""

_METRICS = {"mean": "bright", "stdv": "contrast", "unique": "colors", "file_size": "size"}
"""Names of columns of `img_stats`, as metrics of a gallery."""


class Galleries:
    """Galleries of a run: pages that are written, shown in a notebook, and whose paths are returned.

    Each method takes `save_path`, a folder (default: galleries in the work_dir), `num_images`, and the other parameters
    of the functions of `fastdup_ray.report`: thumbnails, overwrite, s3_anonymous, s3_requester_pays.

    Args:
        work_dir: Of the run.
    """

    def __init__(self, work_dir: str) -> None:
        self._work_dir = work_dir

    def duplicates_gallery(self, save_path: str | None = None, num_images: int = 20, **options: Any) -> str:
        """Show the most similar pairs."""
        return create_duplicates_gallery(
            work_dir=self._work_dir, save_path=self._choose_folder(save_path), num_images=num_images, **options
        )

    def outliers_gallery(self, save_path: str | None = None, num_images: int = 20, **options: Any) -> str:
        """Show the most unusual images, each with its nearest neighbor."""
        return create_outliers_gallery(
            work_dir=self._work_dir, save_path=self._choose_folder(save_path), num_images=num_images, **options
        )

    def component_gallery(self, save_path: str | None = None, num_images: int = 20, **options: Any) -> str:
        """Show the largest groups of similar images."""
        return create_components_gallery(
            work_dir=self._work_dir, save_path=self._choose_folder(save_path), num_images=num_images, **options
        )

    def similarity_gallery(self, save_path: str | None = None, num_images: int = 20, **options: Any) -> str:
        """Show images, each with those that are most similar to it."""
        return create_similarity_gallery(
            self._work_dir, self._choose_folder(save_path), num_images=num_images, **options
        )

    def stats_gallery(
        self, save_path: str | None = None, metric: str = "blur", num_images: int = 20, **options: Any
    ) -> str:
        """Show the images with the lowest or highest values of a metric: blur, dark, bright, contrast, colors, size."""
        metric = _METRICS.get(metric, metric)
        if metric not in METRICS:
            raise ConfigError(f"Invalid value for metric: {metric!r} (must be one of {', '.join(METRICS)}).")
        return create_stats_gallery(
            self._work_dir, self._choose_folder(save_path), metric=metric, num_images=num_images, **options
        )

    def _choose_folder(self, save_path: str | None) -> str:
        return os.path.join(self._work_dir, FOLDER) if save_path is None else save_path
