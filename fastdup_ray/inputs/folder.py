"""The images, videos and archives below a folder."""

import logging
import os
from collections.abc import Iterator

from fastdup_ray.common import layout
from fastdup_ray.common.access import DEFAULT_ACCESS
from fastdup_ray.common.records import ImageRef
from fastdup_ray.common.seen import SeenKeys, make_batches
from fastdup_ray.inputs.globs import Patterns
from fastdup_ray.inputs.local import make_ref, stat
from fastdup_ray.inputs.members import list_members
from fastdup_ray.inputs.skipped import SkippedFiles
from fastdup_ray.inputs.suffixes import has_members, is_excluded_folder

log = logging.getLogger(__name__)


def walk(
    folder: str, work_dir: str, patterns: Patterns, skipped: SkippedFiles, seen: SeenKeys | None = None
) -> Iterator[ImageRef]:
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
        The entries; an archive or table is replaced by the images in it, in its own order.
    """
    root = os.path.abspath(folder)
    root_length = len(os.path.join(root, ""))
    seen = SeenKeys() if seen is None else seen
    for path, status in _drop_seen(_FolderWalk(root, work_dir, patterns, skipped).paths(), seen):
        if status is None:
            yield stat(path)
        elif has_members(path):
            members = list_members(path, skipped, DEFAULT_ACCESS)
            yield from (ref for ref in members if patterns.keep(ref.uri[root_length:]))
        else:
            yield make_ref(path, status)


def iter_paths(folder: str, patterns: Patterns) -> Iterator[str]:
    """Yield the paths of the files below a folder, as `walk` finds them, but all that lead to one file."""
    return _FolderWalk(os.path.abspath(folder), "", patterns, SkippedFiles()).paths()


def _drop_seen(paths: Iterator[str], seen: SeenKeys) -> Iterator[tuple[str, os.stat_result | None]]:
    """Look up files, and leave out those that are `seen`; None is the status of a file that cannot be looked up."""
    for batch in make_batches((path, _try_stat(path)) for path in paths):
        found = [status for _, status in batch if status is not None]
        is_new = iter(seen.add([_sign(status.st_ino) for status in found], [_sign(status.st_dev) for status in found]))
        yield from ((path, status) for path, status in batch if status is None or next(is_new))


def _try_stat(path: str) -> os.stat_result | None:
    try:
        return os.stat(path)
    except OSError:
        return None


def _sign(number: int) -> int:
    """Return a number of 64 bits as a signed one."""
    return number - (1 << 64) if number >> 63 else number


class _FolderWalk:
    """See `walk`."""

    def __init__(self, root: str, work_dir: str, patterns: Patterns, skipped: SkippedFiles) -> None:
        self._root, self._patterns, self._skipped = root, patterns, skipped
        self._root_length = len(os.path.join(root, ""))
        self._work_dir = _get_identity(work_dir)
        self._visited = set() if _get_identity(root) == self._work_dir else {self._work_dir}

    def paths(self) -> Iterator[str]:
        """In the order of their bytes, so that a folder is listed under the first path that leads to it."""
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
                    visible = [child for child in children if not child.name.startswith(".")]
                selected = self._select(visible, is_work_dir=identity is not None and identity == self._work_dir)
            except OSError as error:
                log.warning("Cannot list the folder %r (%s): it is left out.", path, error.strerror)
                continue
            stack += sorted(selected, key=_sort_key, reverse=True)

    def _select(self, children: list[os.DirEntry[str]], *, is_work_dir: bool) -> list[tuple[str, bool]]:
        """The path, and whether it is a folder, of the children that are taken."""
        if any(child.name == layout.QUARANTINE_MARK for child in children):
            return []
        selected: list[tuple[str, bool]] = []
        for child in children:
            is_folder = _is_folder(child)
            if (is_folder and is_excluded_folder(child.name)) or (is_work_dir and layout.is_output(child.name)):
                continue
            name = child.path[self._root_length :]
            if is_folder:
                if not self._patterns.exclude(name):
                    selected.append((child.path, True))
            elif _is_file(child) and self._patterns.keep(name):
                if self._patterns.selects_suffix(name):
                    selected.append((child.path, False))
                else:
                    self._skipped.add(name)
        return selected


def _sort_key(child: tuple[str, bool]) -> bytes:
    """The bytes to compare: all names in a folder begin with its own name and a `/`, those in a file with `!/`."""
    path, is_folder = child
    return os.fsencode(path + "/" if is_folder else path + "!/" if has_members(path) else path)


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
