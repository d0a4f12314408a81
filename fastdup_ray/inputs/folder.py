"""The images, videos and archives below a folder."""

import logging
import os
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa

from fastdup_ray.common import layout
from fastdup_ray.common.access import DEFAULT_ACCESS
from fastdup_ray.common.ref_tables import make_ref_tables
from fastdup_ray.common.seen import SeenKeys
from fastdup_ray.inputs.globs import Patterns
from fastdup_ray.inputs.local import stat_files
from fastdup_ray.inputs.members import list_members
from fastdup_ray.inputs.skipped import SkippedFiles
from fastdup_ray.inputs.suffixes import has_members, is_excluded_folder, is_media_name

log = logging.getLogger(__name__)

_FILES_AT_ONCE = 1 << 13
"""Files that are looked up at a time."""


def walk(
    folder: str, work_dir: str, patterns: Patterns, skipped: SkippedFiles, seen: SeenKeys | None = None
) -> Iterator[pa.Table]:
    """List the files with a known suffix below a folder, sorted by the bytes of their paths.

    Hidden files and folders, folders that systems keep for themselves, and quarantines are left out. Links are
    followed; a file or folder that can be reached in several ways is listed once, under the first of its paths. A
    folder that cannot be listed is a warning.

    Args:
        folder: the folder.
        work_dir: left out; if it is `folder` itself, only what runs write there is left out.
        patterns: which paths to take, relative to `folder`.
        skipped: counts the files that are left out because of their suffix.
        seen: inodes and devices of the files of folders that were listed before, which are left out; those of this
            one are added.

    Yields:
        Tables `REFS` of the entries; an archive or table is replaced by the images in it, in its own order.
    """
    root = os.path.abspath(folder)
    root_length = len(os.path.join(root, ""))
    seen = SeenKeys() if seen is None else seen
    for run in _FolderWalk(root, work_dir, patterns, skipped).runs():
        for start in range(0, len(run.names), _FILES_AT_ONCE):
            found = stat_files([run.folder + name for name in run.names[start : start + _FILES_AT_ONCE]])
            is_new = ~found.exists
            is_new[found.exists] = seen.add(found.inodes, found.devices)
            if run.have_members and found.exists.all():
                for path in found.refs.filter(pa.array(is_new))["uri"].to_pylist():
                    members = list_members(os.fsdecode(path), skipped, DEFAULT_ACCESS)
                    yield from make_ref_tables(ref for ref in members if patterns.keep(ref.uri[root_length:]))
            else:
                yield found.refs if is_new.all() else found.refs.filter(pa.array(is_new))


def iter_paths(folder: str, patterns: Patterns) -> Iterator[str]:
    """Yield the paths of the files below a folder, as `walk` finds them, but all that lead to one file."""
    for run in _FolderWalk(os.path.abspath(folder), "", patterns, SkippedFiles()).runs():
        yield from (os.fsdecode(run.folder + name) for name in run.names)


@dataclass(frozen=True)
class _FileRun:
    """Files of a folder that follow one another in the list.

    Attributes:
        folder: Path of the folder, with a `/` at its end, as raw bytes.
        names: Names of the files in it, as raw bytes.
        have_members: Whether it is a single archive or table, whose images are listed instead of it.
    """

    folder: bytes
    names: list[bytes]
    have_members: bool = False


class _FolderWalk:
    """See `walk`."""

    def __init__(self, root: str, work_dir: str, patterns: Patterns, skipped: SkippedFiles) -> None:
        self._root, self._patterns, self._skipped = root, patterns, skipped
        self._root_length = len(os.path.join(root, ""))
        self._work_dir = _get_identity(work_dir)
        self._visited = set() if _get_identity(root) == self._work_dir else {self._work_dir}

    def runs(self) -> Iterator[_FileRun]:
        """Yield the files in the order of the bytes of their paths.

        So a folder is listed under the first path that leads to it.
        """
        stack: list[str | _FileRun] = [self._root]
        while stack:
            item = stack.pop()
            if isinstance(item, _FileRun):
                yield item
                continue
            identity = _get_identity(item)
            if identity in self._visited:
                continue
            self._visited.add(identity)
            try:
                is_work_dir = identity is not None and identity == self._work_dir
                stack += reversed(self._list(item, is_work_dir=is_work_dir))
            except OSError as error:
                log.warning("Cannot list the folder %r (%s): it is left out.", item, error.strerror)

    def _list(self, folder: str, *, is_work_dir: bool) -> list[str | _FileRun]:
        """Return the folders and the runs of files in a folder that are taken, in their order."""
        path = os.path.join(folder, "")
        if os.path.lexists(path + layout.QUARANTINE_MARK):
            return []
        files, others = list[bytes](), list[tuple[bytes, str | _FileRun]]()
        raw_path, start = os.fsencode(path), path[self._root_length :]
        with os.scandir(folder) as children:
            for child in children:
                name = child.name
                if name.startswith(".") or (is_work_dir and layout.is_output(name)):
                    continue
                if _is_folder(child):
                    if not is_excluded_folder(name) and not self._patterns.exclude(start + name):
                        others.append((os.fsencode(name + "/"), path + name))
                elif _is_file(child) and self._patterns.keep(start + name):
                    if not self._patterns.selects_suffix(name):
                        self._skipped.add(name)
                    elif not is_media_name(name) and has_members(name):
                        raw = os.fsencode(name)
                        others.append((raw + b"!/", _FileRun(raw_path, [raw], have_members=True)))
                    else:
                        files.append(os.fsencode(name))
        return _merge(raw_path, files, others)


def _merge(folder: bytes, files: list[bytes], others: list[tuple[bytes, str | _FileRun]]) -> list[str | _FileRun]:
    """Sort the names of files, and put folders, archives and tables between them.

    All names in a folder begin with its own name and a `/`, those in a file with `!/`.
    """
    files.sort()
    merged, done = list[str | _FileRun](), 0
    for key, other in sorted(others, key=lambda item: item[0]):
        place = bisect_left(files, key)
        if done < place:
            merged.append(_FileRun(folder, files[done:place]))
        merged.append(other)
        done = place
    return [*merged, _FileRun(folder, files[done:])] if done < len(files) else merged


def _is_file(child: os.DirEntry[str]) -> bool:
    """Whether it is a file, or a link, even to nothing."""
    return child.is_file(follow_symlinks=False) or child.is_symlink()


def _is_folder(child: os.DirEntry[str]) -> bool:
    try:
        return child.is_dir()
    except OSError:  # a link to itself
        return False


def _get_identity(folder: str) -> tuple[int, int] | None:
    try:
        status = os.stat(folder)
    except OSError:
        return None
    return status.st_dev, status.st_ino
