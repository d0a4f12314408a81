"""The page and the galleries of a finished run, made again from its outputs."""

import os
from contextlib import nullcontext

from fastdup_ray.common import layout
from fastdup_ray.common.layout import FILE_SETS
from fastdup_ray.common.paths import accept_paths
from fastdup_ray.errors import InputError
from fastdup_ray.outputs.stored_config import read_config
from fastdup_ray.report.galleries import (
    Location,
    create_components_gallery,
    create_duplicates_gallery,
    create_outliers_gallery,
    open_page,
)
from fastdup_ray.report.page import render_report
from fastdup_ray.report.readers import wants_thumbnails
from fastdup_ray.s3 import make_access
from fastdup_ray.storage import open_store
from fastdup_ray.storage.facts import read_summary


@accept_paths("work_dir", "save_path")
def make_pages(
    work_dir: Location,
    save_path: Location | None = None,
    num_images: int = 20,
    thumbnails: bool | None = None,
    overwrite: bool = False,
    *,
    s3_anonymous: bool = False,
    s3_requester_pays: bool = False,
) -> list[str]:
    """Write report/index.html, that of the last scoring, and the three galleries.

    Args:
        work_dir: a folder or s3:// URI with a finished run.
        save_path: the folder or URI that the pages go to; default: `work_dir`.
        num_images: pairs or groups in each gallery.
        thumbnails: whether pages show images; None: as the run was asked.
        overwrite: replace files in `save_path` that are not pages of ours.
        s3_anonymous: send unsigned requests to S3; also done if the run was asked to.
        s3_requester_pays: pay for reads from requester-pays buckets; also done if the run was asked to.

    Returns:
        The paths of the pages.

    Raises:
        WorkDirError: where a page cannot be written, or something else is there; then none is written.
        InputError, ConfigError, DamagedError: where the run is not what it should be.
    """
    access = make_access(anonymous=s3_anonymous, requester_pays=s3_requester_pays)
    source = open_store(os.path.expanduser(work_dir), access)
    finished = [files for files in FILE_SETS if source.exists(files.name(layout.SUMMARY))]
    if not finished or not source.exists(layout.SIMILARITY_CSV):
        raise InputError(
            f"No finished run in {source.location!r}: name the work_dir of one (features alone make no page)."
        )
    config = read_config(source)
    s3_anonymous = s3_anonymous or config.get("s3_anonymous", False)
    s3_requester_pays = s3_requester_pays or config.get("s3_requester_pays", False)
    source = open_store(source.location, make_access(anonymous=s3_anonymous, requester_pays=s3_requester_pays))
    galleries = {
        layout.DUPLICATES_HTML: create_duplicates_gallery,
        layout.OUTLIERS_HTML: create_outliers_gallery,
    }
    if source.exists(layout.COMPONENTS):  # not with run_cc=0
        galleries[layout.COMPONENTS_HTML] = create_components_gallery
    if save_path is None:
        source.prepare()
    with source.lock(layout.LOCK) if save_path is None else nullcontext():
        reports = {
            files: open_page(source, save_path, files.name(layout.REPORT), overwrite=overwrite) for files in finished
        }
        for page in galleries:  # before the first is written
            open_page(source, save_path, page, overwrite=overwrite)
        for files, output in reports.items():
            wanted = wants_thumbnails(source, files, thumbnails)
            html = render_report(source, read_summary(source, files), files, thumbnails=wanted)
            with output.open() as file:
                file.write(html.encode())
        asked = {"num_images": num_images, "thumbnails": thumbnails, "overwrite": overwrite}
        asked |= {"s3_anonymous": s3_anonymous, "s3_requester_pays": s3_requester_pays}
        made = [create(work_dir=source.location, save_path=save_path, **asked) for create in galleries.values()]
    return [*(output.path for output in reports.values()), *made]
