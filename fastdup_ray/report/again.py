"""The page and the galleries of a finished run, made again from its outputs."""

import os
from contextlib import nullcontext

from fastdup_ray import layout, s3
from fastdup_ray.errors import InputError
from fastdup_ray.layout import SETS
from fastdup_ray.paths import takes_paths
from fastdup_ray.report.findings import read_config, wants_thumbnails
from fastdup_ray.report.galleries import (
    Location,
    create_components_gallery,
    create_duplicates_gallery,
    create_outliers_gallery,
)
from fastdup_ray.report.page import write_report
from fastdup_ray.sealed import read_json
from fastdup_ray.storage import open_store


@takes_paths("work_dir", "save_path")
def make_pages(
    work_dir: Location, save_path: Location | None = None, num_images: int = 20, thumbnails: bool | None = None
) -> list[str]:
    """Writes report/index.html, that of the last scoring, and the three galleries; returns their paths.

    work_dir, save_path: folders or s3:// URIs; save_path: where the pages go, default: work_dir. num_images: pairs or
    groups in each gallery. thumbnails: None: as the run was asked. Raises `InputError`, `ConfigError`, `DamagedError`.
    """
    source = open_store(os.path.expanduser(work_dir))
    target = source if save_path is None else open_store(os.path.expanduser(save_path))
    found = [files for files in SETS if source.exists(files.of(layout.SUMMARY))]
    if not found or not source.exists(layout.SIMILARITY_CSV):
        raise InputError(
            f"No finished run in {source.location!r}: name the work_dir of one (features alone make no page)."
        )
    target.prepare()
    config = read_config(source)
    s3.use(s3.Access(config.get("s3_anonymous") or None, config.get("s3_requester_pays", False)))
    made = []
    with target.lock(layout.LOCK) if target is source else nullcontext():
        for files in found:
            wanted = wants_thumbnails(source, files, thumbnails)
            write_report(source, read_json(source, files.of(layout.SUMMARY)), files, thumbnails=wanted, target=target)
            made.append(os.path.join(target.location, files.of(layout.REPORT)))
        galleries = [create_duplicates_gallery, create_outliers_gallery]
        if source.exists(layout.COMPONENTS):  # not with run_cc=0
            galleries.append(create_components_gallery)
        for create in galleries:
            made.append(
                create(
                    work_dir=source.location, save_path=target.location, num_images=num_images, thumbnails=thumbnails
                )
            )
    return made
