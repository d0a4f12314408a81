"""The pictures, videos and archives of a bucket: below a prefix, or in an inventory."""

from collections.abc import Iterable, Iterator

from fastdup_ray import layout
from fastdup_ray import s3 as names
from fastdup_ray.inputs import archive, inventory, s3
from fastdup_ray.inputs.patterns import Patterns
from fastdup_ray.inputs.suffixes import is_archive_name, is_image_name, is_video_name
from fastdup_ray.records import ImageRef


def walk(uri: str, leave_out: str, patterns: Patterns) -> Iterator[ImageRef]:
    """The objects with a known suffix below `uri`, sorted by the bytes of their keys; see `folder.walk`."""
    within = len(names.uri_of(*names.folder_of(uri)))
    return _taken(s3.below(uri), within, leave_out, patterns)


def in_inventory(uri: str, leave_out: str, patterns: Patterns) -> Iterator[ImageRef]:
    """The same of the whole bucket that the inventory with the manifest `uri` lists, in its order."""
    bucket, refs = inventory.listed(uri)
    return _taken(refs, len(names.uri_of(bucket, "")), leave_out, patterns)


def _taken(refs: Iterable[ImageRef], within: int, leave_out: str, patterns: Patterns) -> Iterator[ImageRef]:
    """within: how much of each name is that of the place, which patterns do not look at."""
    kept_out = (names.uri_of(*names.folder_of(leave_out)),) if names.is_s3(leave_out) else ()
    for ref in refs:
        name = ref.uri[within:]
        if name.rpartition("/")[2] == layout.QUARANTINE_MARK:  # it stands before all else in a quarantine
            kept_out += (ref.uri.removesuffix(layout.QUARANTINE_MARK),)
        if not _is_wanted(name) or not patterns.keep(name) or ref.uri.startswith(kept_out):
            continue
        if is_archive_name(name):
            yield from (member for member in archive.listed(ref.uri) if patterns.keep(member.uri[within:]))
        else:
            yield ref


def _is_wanted(name: str) -> bool:
    hidden = name.startswith(".") or "/." in name
    return not hidden and (is_image_name(name) or is_video_name(name) or is_archive_name(name))
