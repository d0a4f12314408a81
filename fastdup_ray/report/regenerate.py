"""The report and the galleries of a finished run, rebuilt from its outputs."""

import os
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

from fastdup_ray.common import layout
from fastdup_ray.common.access import make_access
from fastdup_ray.common.layout import FILE_SETS, INDEXED
from fastdup_ray.common.paths import accept_paths
from fastdup_ray.errors import InputError
from fastdup_ray.features import map_names
from fastdup_ray.outputs.clusters_file import read_clusters
from fastdup_ray.outputs.stored_config import read_config
from fastdup_ray.report.cluster_gallery import create_clusters_gallery
from fastdup_ray.report.embedding_map import create_embedding_map
from fastdup_ray.report.galleries import (
    create_components_gallery,
    create_duplicates_gallery,
    create_outliers_gallery,
)
from fastdup_ray.report.gallery_page import Location, open_page
from fastdup_ray.report.page import render_report
from fastdup_ray.report.run_settings import wants_thumbnails
from fastdup_ray.storage import Store, open_store
from fastdup_ray.storage.facts import read_summary


@accept_paths("work_dir", "save_path")
def make_pages(
    work_dir: Location,
    save_path: Location | None = None,
    num_images: int = 20,
    *,
    map: str | None = None,
    thumbnails: bool | None = None,
    overwrite: bool = False,
    s3_anonymous: bool = False,
    s3_requester_pays: bool = False,
) -> list[str]:
    """Write report/index.html, the report of the last scoring if there is one, the galleries, and a map.

    There are three galleries, and one of the clusters if clusters.csv is of the images of the run.

    Args:
        work_dir: A folder or URI with a finished run.
        save_path: The folder or URI that the pages go to. Default: `work_dir`.
        num_images: Pairs or groups in each gallery.
        map: Also write map.html, to which the report then links: the method, see `create_embedding_map`. None: no map.
        thumbnails: Whether pages show images. None: as the run did.
        overwrite: Replace files in `save_path` that are not pages of this package.
        s3_anonymous: Send unsigned requests to S3; also done if the run did.
        s3_requester_pays: Pay for reads from requester-pays buckets; also done if the run did.

    Returns:
        The paths of the pages.

    Raises:
        WorkDirError: where a page cannot be written, or another file is in its place; then no page is written.
        InputError: where there is no finished run.
        ConfigError: where a parameter is invalid.
        DamagedError: where an output is not what the run wrote.
    """
    access = make_access(anonymous=s3_anonymous, requester_pays=s3_requester_pays)
    source = open_store(os.path.expanduser(work_dir), access)
    file_sets = [files for files in FILE_SETS if source.exists(files.name(layout.SUMMARY))]
    if not file_sets or not source.exists(layout.SIMILARITY_CSV):
        raise InputError(
            f"No finished run in {source.location!r}: give the work_dir of one (a run of mode 1 has features only)."
        )
    config = read_config(source)
    s3_anonymous = s3_anonymous or config.get("s3_anonymous", False)
    s3_requester_pays = s3_requester_pays or config.get("s3_requester_pays", False)
    source = open_store(source.location, make_access(anonymous=s3_anonymous, requester_pays=s3_requester_pays))
    galleries: dict[str, Callable[..., str]] = {
        layout.DUPLICATES_HTML: create_duplicates_gallery,
        layout.OUTLIERS_HTML: create_outliers_gallery,
    }
    if source.exists(layout.COMPONENTS):  # not with run_cc=0
        galleries[layout.COMPONENTS_HTML] = create_components_gallery
    if _has_clusters(source):
        galleries[layout.CLUSTERS_HTML] = create_clusters_gallery
    pages = [*galleries, *([] if map is None else [layout.MAP_HTML])]
    if save_path is None:
        source.prepare()
    with source.lock(layout.LOCK) if save_path is None else nullcontext():
        reports = {
            files: open_page(source, save_path, files.name(layout.REPORT), overwrite=overwrite) for files in file_sets
        }
        for page in pages:  # check all of them before the first page is written
            open_page(source, save_path, page, overwrite=overwrite)
        options: dict[str, Any] = {"thumbnails": thumbnails, "overwrite": overwrite}
        options |= {"s3_anonymous": s3_anonymous, "s3_requester_pays": s3_requester_pays}
        maps = [] if map is None else [create_embedding_map(source.location, save_path, map, **options)]
        for files, output in reports.items():
            shows_images = wants_thumbnails(source, files, thumbnails=thumbnails)
            has_map = bool(maps) and files is INDEXED
            html = render_report(source, read_summary(source, files), files, thumbnails=shows_images, has_map=has_map)
            with output.open() as file:
                file.writelines(part.encode() for part in html)
        options |= {"num_images": num_images}
        paths = [create(work_dir=source.location, save_path=save_path, **options) for create in galleries.values()]
    return [*(output.path for output in reports.values()), *paths, *maps]


def _has_clusters(source: Store) -> bool:
    """Return whether there is a clusters.csv of the images of the run."""
    if not source.exists(layout.CLUSTERS_CSV):
        return False
    return read_clusters(source, map_names(source, layout.FEATURES_CSV)) is not None
