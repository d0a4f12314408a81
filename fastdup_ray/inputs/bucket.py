"""The pictures, videos and archives of a bucket: below a prefix, or in an inventory."""

import re
from collections.abc import Iterable, Iterator
from functools import lru_cache, partial

from fastdup_ray import layout
from fastdup_ray import s3 as names
from fastdup_ray.inputs import archive, inventory, s3, s3_listing
from fastdup_ray.inputs.patterns import Patterns
from fastdup_ray.inputs.suffixes import is_archive_name, is_image_name, is_video_name
from fastdup_ray.records import ImageRef

_MOVED = re.compile(f"/{layout.MOVED}/s3/")
"""In the name of what is in a quarantine. Whether it is one, an object beside says: no order of a listing is needed."""


def walk(uri: str, leave_out: str, patterns: Patterns) -> Iterator[ImageRef]:
    """The objects with a known suffix below `uri`, sorted by the bytes of their keys; see `folder.walk`."""
    place = names.uri_of(*names.folder_of(uri))
    wanted = partial(_is_wanted, place, leave_out, patterns)
    return _with_members(s3_listing.below(uri, wanted), place, patterns)


def in_inventory(uri: str, leave_out: str, patterns: Patterns) -> Iterator[ImageRef]:
    """The same of the whole bucket that the inventory with the manifest `uri` lists, in its order."""
    bucket, refs = inventory.listed(uri)
    place = names.uri_of(bucket, "")
    wanted = (ref for ref in refs if _is_wanted(place, leave_out, patterns, ref.uri))
    return _with_members(wanted, place, patterns)


def _with_members(refs: Iterable[ImageRef], place: str, patterns: Patterns) -> Iterator[ImageRef]:
    """Archives become what is in them."""
    for ref in refs:
        if is_archive_name(ref.uri):
            yield from (member for member in archive.listed(ref.uri) if patterns.keep(member.uri[len(place) :]))
        else:
            yield ref


def _is_wanted(place: str, leave_out: str, patterns: Patterns, uri: str) -> bool:
    """place: what each name begins with, at which patterns do not look. leave_out: the work_dir."""
    name = uri[len(place) :]
    hidden = name.startswith(".") or "/." in name
    known = is_image_name(name) or is_video_name(name) or is_archive_name(name)
    kept_out = names.is_s3(leave_out) and uri.startswith(names.uri_of(*names.folder_of(leave_out)))
    wanted = known and not hidden and not kept_out and patterns.keep(name)
    return wanted and not _is_in_quarantine(uri, len(place) - 1)


def _is_in_quarantine(uri: str, start: int) -> bool:
    """Whether an object was moved by `apply` to a folder whose name has `start` characters, or more."""
    return any(_is_quarantine(uri[: found.start()]) for found in _MOVED.finditer(uri, start))


@lru_cache(maxsize=4096)
def _is_quarantine(folder: str) -> bool:
    return bool(s3.stat(f"{folder}/{layout.QUARANTINE_MARK}").mtime_or_etag)
