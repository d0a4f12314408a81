"""The images, videos and archives of a bucket: below a prefix, or in an inventory."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache

from fastdup_ray import s3
from fastdup_ray.common import layout, locations
from fastdup_ray.common.access import Access
from fastdup_ray.common.locations import is_remote
from fastdup_ray.common.records import ImageRef
from fastdup_ray.inputs import inventory
from fastdup_ray.inputs.file_source import get_remote_source
from fastdup_ray.inputs.globs import Patterns
from fastdup_ray.inputs.members import list_members
from fastdup_ray.inputs.skipped import SkippedFiles
from fastdup_ray.inputs.suffixes import has_members, is_excluded_folder

_MOVED = re.compile(f"/{layout.MOVED}/s3/")
"""Part of the name of what is in a quarantine; whether it is one depends on a mark beside it, in any order."""


def walk(uri: str, work_dir: str, patterns: Patterns, skipped: SkippedFiles, access: Access) -> Iterator[ImageRef]:
    """List the objects with a known suffix below `uri`, sorted by the bytes of their keys.

    Args:
        uri: the bucket and prefix.
        work_dir: what a run writes there is left out.
        patterns: which names to take, without the prefix.
        skipped: counts the objects that are left out because of their suffix.
        access: how the bucket is accessed.

    Yields:
        The entries; an archive or table is replaced by the images in it.
    """
    selection = _Selection(_make_folder_uri(uri), work_dir, patterns, skipped, access)
    return selection.expand(get_remote_source(uri).list_below(uri, selection.takes, access))


def walk_inventory(
    uri: str, work_dir: str, patterns: Patterns, skipped: SkippedFiles, access: Access
) -> Iterator[ImageRef]:
    """List the objects of the bucket whose inventory has the manifest `uri`, in its order; see `walk`."""
    bucket, refs = inventory.list_inventory(uri, access)
    selection = _Selection(s3.make_uri(bucket, ""), work_dir, patterns, skipped, access)
    return selection.expand(filter(selection.takes, refs))


@dataclass(frozen=True)
class _Selection:
    """Which objects are taken.

    Attributes:
        root: The beginning of all names, which patterns do not see.
        work_dir: What a run writes there is left out.
        patterns: Which names to take.
        skipped: Counts the objects that are left out because of their suffix.
        access: How the bucket is accessed.
    """

    root: str
    work_dir: str
    patterns: Patterns
    skipped: SkippedFiles
    access: Access

    def takes(self, ref: ImageRef) -> bool:
        name = ref.uri[len(self.root) :]
        *folders, file = name.split("/")
        if file.startswith(".") or any(map(is_excluded_folder, folders)) or self._is_output(ref.uri):
            return False
        if not self.patterns.keep(name):
            return False
        if not self.patterns.selects_suffix(name):
            if ref.size:  # an empty object may be the marker of a folder
                self.skipped.add(name)
            return False
        return not _is_in_quarantine(ref.uri, len(self.root) - 1, self.access)

    def expand(self, refs: Iterable[ImageRef]) -> Iterator[ImageRef]:
        """Replace archives and tables by the images in them."""
        for ref in refs:
            if has_members(ref.uri):
                members = list_members(ref.uri, self.skipped, self.access)
                yield from (member for member in members if self.patterns.keep(member.uri[len(self.root) :]))
            else:
                yield ref

    def _is_output(self, uri: str) -> bool:
        """Whether an object is in the work_dir, if that is below `root`; or what a run writes, if that is `root`."""
        if not is_remote(self.work_dir):
            return False
        own = _make_folder_uri(self.work_dir)
        if own == self.root:
            return layout.is_output(uri[len(own) :])
        return own.startswith(self.root) and uri.startswith(own)


def _make_folder_uri(uri: str) -> str:
    """Return the beginning of the URIs of all objects below a prefix."""
    return locations.make_uri(locations.get_scheme(uri), *locations.split_folder(uri))


def _is_in_quarantine(uri: str, start: int, access: Access) -> bool:
    """Whether `apply` moved an object to a quarantine; the name of the quarantine has at least `start` characters."""
    return any(_is_quarantine(uri[: match.start()], access) for match in _MOVED.finditer(uri, start))


@lru_cache(maxsize=4096)
def _is_quarantine(folder: str, access: Access) -> bool:
    name = f"{folder}/{layout.QUARANTINE_MARK}"
    return bool(get_remote_source(name).stat(name, access).mtime_or_etag)
