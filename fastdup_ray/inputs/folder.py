"""The images, videos and archives below a folder."""

import logging
import os
from collections.abc import Iterator

from fastdup_ray.common import layout
from fastdup_ray.common.records import ImageRef
from fastdup_ray.inputs import archive
from fastdup_ray.inputs.globs import Patterns
from fastdup_ray.inputs.local import make_ref, stat
from fastdup_ray.inputs.skipped import SkippedFiles
from fastdup_ray.inputs.suffixes import is_archive_name, is_excluded_folder, is_readable_name
from fastdup_ray.s3 import DEFAULT_ACCESS

log = logging.getLogger(__name__)


def walk(folder: str, work_dir: str, patterns: Patterns, skipped: SkippedFiles) -> Iterator[ImageRef]:
    """The files with a known suffix below `folder`, sorted by the bytes of their paths; others are counted as skipped.

    patterns: of names from `folder` on. An archive stands for what is in it, in its own order. Left out are hidden
    files and folders, those that systems keep for themselves, quarantines, and the work_dir; where `folder` is the
    work_dir itself, only what runs write there. Links are followed; a file or folder that can be reached in several
    ways is there once, under the first of its names. A folder that cannot be listed is a warning.
    """
    root = os.path.abspath(folder)
    within = len(os.path.join(root, ""))
    seen: set[tuple[int, int]] = set()
    for path in _FolderWalk(root, work_dir, patterns, skipped).paths():
        try:
            status = os.stat(path)
        except OSError:
            yield stat(path)
            continue
        inode = status.st_dev, status.st_ino
        if inode in seen:
            continue
        seen.add(inode)
        if is_archive_name(path):
            yield from (
                ref for ref in archive.list_members(path, skipped, DEFAULT_ACCESS) if patterns.keep(ref.uri[within:])
            )
        else:
            yield make_ref(path, status)


class _FolderWalk:
    """See `walk`."""

    def __init__(self, root: str, work_dir: str, patterns: Patterns, skipped: SkippedFiles):
        self._root, self._patterns, self._skipped = root, patterns, skipped
        self._within = len(os.path.join(root, ""))
        self._work_dir = _get_identity(work_dir)
        self._visited = set() if _get_identity(root) == self._work_dir else {self._work_dir}

    def paths(self) -> Iterator[str]:
        """In the order of their bytes, so that the first way to a folder is the one under which it stands."""
        stack = [(self._root, True)]
        while stack:
            path, is_folder = stack.pop()
            if not is_folder:
                yield path
                continue
            identity = _get_identity(path)
            if identity in self._visited:
                continue
            self._visited.add(identity)
            try:
                with os.scandir(path) as children:
                    found = [child for child in children if not child.name.startswith(".")]
                taken = self._select(found, is_work_dir=identity is not None and identity == self._work_dir)
            except OSError as error:
                log.warning("Cannot list %r: %s; what it holds is left out.", path, error.strerror)
                continue
            stack += sorted(taken, key=_sort_key, reverse=True)

    def _select(self, found: list[os.DirEntry], *, is_work_dir: bool) -> list[tuple[str, bool]]:
        """Path, and whether it is a folder, of what is taken of the files and folders in one; others are counted."""
        if any(child.name == layout.QUARANTINE_MARK for child in found):
            return []
        taken: list[tuple[str, bool]] = []
        for child in found:
            is_folder = _is_folder(child)
            if (is_folder and is_excluded_folder(child.name)) or (is_work_dir and layout.is_output(child.name)):
                continue
            name = child.path[self._within :]
            if is_folder:
                if not self._patterns.exclude(name):
                    taken.append((child.path, True))
            elif _is_file(child) and self._patterns.keep(name):
                if is_readable_name(name):
                    taken.append((child.path, False))
                else:
                    self._skipped.add(name)
        return taken


def _sort_key(child: tuple[str, bool]) -> bytes:
    """What is compared: all names below a folder begin with its own and a `/`."""
    path, is_folder = child
    return os.fsencode(path + "/" if is_folder else path + "!/" if is_archive_name(path) else path)


def _is_file(child: os.DirEntry) -> bool:
    """Whether it is a file, or a link to whatever there is, or is not."""
    return child.is_file(follow_symlinks=False) or child.is_symlink()


def _is_folder(child: os.DirEntry) -> bool:
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
