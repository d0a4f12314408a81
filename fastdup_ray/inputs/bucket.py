"""The images, videos and archives of a bucket: below a prefix, or in an inventory."""

import re
from collections.abc import Iterable, Iterator
from functools import lru_cache, partial

from fastdup_ray import s3 as names
from fastdup_ray.common import layout
from fastdup_ray.common.records import ImageRef
from fastdup_ray.inputs import archive, inventory
from fastdup_ray.inputs.globs import Patterns
from fastdup_ray.inputs.skipped import SkippedFiles
from fastdup_ray.inputs.suffixes import is_archive_name, is_excluded_folder, is_readable_name
from fastdup_ray.s3 import Access, listing, objects

_MOVED = re.compile(f"/{layout.MOVED}/s3/")
"""In the name of what is in a quarantine. Whether it is one, an object beside says: no order of a listing is needed."""


def walk(uri: str, work_dir: str, patterns: Patterns, skipped: SkippedFiles, access: Access) -> Iterator[ImageRef]:
    """The objects with a known suffix below `uri`, sorted by the bytes of their keys; see `folder.walk`."""
    place = names.make_uri(*names.split_folder(uri))
    wanted = partial(_is_wanted, place, work_dir, patterns, skipped, access)
    return _expand_archives(listing.list_below(uri, wanted, access), place, patterns, skipped, access)


def walk_inventory(
    uri: str, work_dir: str, patterns: Patterns, skipped: SkippedFiles, access: Access
) -> Iterator[ImageRef]:
    """The same of the whole bucket that the inventory with the manifest `uri` lists, in its order."""
    bucket, refs = inventory.list_inventory(uri, access)
    place = names.make_uri(bucket, "")
    wanted = (ref for ref in refs if _is_wanted(place, work_dir, patterns, skipped, access, ref))
    return _expand_archives(wanted, place, patterns, skipped, access)


def _expand_archives(
    refs: Iterable[ImageRef], place: str, patterns: Patterns, skipped: SkippedFiles, access: Access
) -> Iterator[ImageRef]:
    """Archives become what is in them."""
    for ref in refs:
        if is_archive_name(ref.uri):
            members = archive.list_members(ref.uri, skipped, access)
            yield from (member for member in members if patterns.keep(member.uri[len(place) :]))
        else:
            yield ref


def _is_wanted(
    place: str, work_dir: str, patterns: Patterns, skipped: SkippedFiles, access: Access, ref: ImageRef
) -> bool:
    """place: what each name begins with, at which patterns do not look."""
    name = ref.uri[len(place) :]
    *folders, file = name.split("/")
    if file.startswith(".") or any(map(is_excluded_folder, folders)) or _is_output(place, work_dir, ref.uri):
        return False
    if not patterns.keep(name):
        return False
    if not is_readable_name(name):
        if ref.size:  # an empty object may stand for a folder
            skipped.add(name)
        return False
    return not _is_in_quarantine(ref.uri, len(place) - 1, access)


def _is_output(place: str, work_dir: str, uri: str) -> bool:
    """Whether an object is in the work_dir, where that is below `place`; or what a run writes, where it is `place`."""
    if not names.is_s3(work_dir):
        return False
    own = names.make_uri(*names.split_folder(work_dir))
    if own == place:
        return layout.is_output(uri[len(own) :])
    return own.startswith(place) and uri.startswith(own)


def _is_in_quarantine(uri: str, start: int, access: Access) -> bool:
    """Whether an object was moved by `apply` to a folder whose name has `start` characters, or more."""
    return any(_is_quarantine(uri[: found.start()], access) for found in _MOVED.finditer(uri, start))


@lru_cache(maxsize=4096)
def _is_quarantine(folder: str, access: Access) -> bool:
    return bool(objects.stat(f"{folder}/{layout.QUARANTINE_MARK}", access).mtime_or_etag)
