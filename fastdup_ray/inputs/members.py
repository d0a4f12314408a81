"""Archives and tables in folders and buckets: files that contain images."""

from collections.abc import Iterator

from fastdup_ray.common.access import Access
from fastdup_ray.common.records import ImageRef
from fastdup_ray.inputs import archive, table_rows
from fastdup_ray.inputs.skipped import SkippedFiles
from fastdup_ray.inputs.suffixes import is_archive_name


def list_members(path: str, skipped: SkippedFiles, access: Access) -> Iterator[ImageRef]:
    """List the images in a file for which `suffixes.has_members` is true, in its order.

    Args:
        path: The path or URI of the file.
        skipped: Counts the files that are left out because of their suffix, and tables without images.
        access: How buckets are accessed.

    Yields:
        The entries; if the file is damaged, the last one is the file itself: reading it gives the reason.
    """
    if is_archive_name(path):
        yield from archive.list_members(path, skipped, access)
    else:
        yield from table_rows.list_rows(path, access, skipped)
