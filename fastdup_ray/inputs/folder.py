"""The pictures, videos and archives below a folder."""

import logging
import os
from collections.abc import Callable, Iterator

from fastdup_ray import layout
from fastdup_ray.inputs import archive
from fastdup_ray.inputs.local import ref_of, stat
from fastdup_ray.inputs.patterns import Patterns
from fastdup_ray.inputs.suffixes import is_archive_name, is_image_name, is_video_name
from fastdup_ray.records import ImageRef

log = logging.getLogger(__name__)


def walk(folder: str, leave_out: str, patterns: Patterns) -> Iterator[ImageRef]:
    """The files with a known suffix below `folder`, sorted by the bytes of their paths.

    patterns: of names from `folder` on. An archive stands for what is in it, in its own order. Hidden files and
    folders, the folder `leave_out` and quarantines are left out. Links are followed; a file or folder that can be
    reached in several ways is there once, under the first of its names. A folder that cannot be listed is a warning.
    """
    root = os.path.abspath(folder)
    within = len(os.path.join(root, ""))
    seen: set[tuple[int, int]] = set()
    for path in _paths(root, leave_out, lambda path: patterns.exclude(path[within:])):
        if not patterns.keep(path[within:]):
            continue
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
            yield from (ref for ref in archive.listed(path) if patterns.keep(ref.uri[within:]))
        else:
            yield ref_of(path, status)


def _paths(root: str, leave_out: str, excluded: Callable[[str], bool]) -> Iterator[str]:
    """In the order of their bytes, so that the first way to a folder is the one under which it stands."""
    visited = {_identity(leave_out)}
    stack = [(root, True)]
    while stack:
        path, is_folder = stack.pop()
        if not is_folder:
            yield path
            continue
        identity = _identity(path)
        if identity in visited:
            continue
        visited.add(identity)
        try:
            found = list(os.scandir(path))
            children = [(child.path, _is_folder(child)) for child in found if _is_wanted(child)]
        except OSError as error:
            log.warning("Cannot list %r: %s; what it holds is left out.", path, error.strerror)
            continue
        if any(child.name == layout.QUARANTINE_MARK for child in found):
            continue
        stack += sorted((child for child in children if not excluded(child[0])), key=_place, reverse=True)


def _place(child: tuple[str, bool]) -> bytes:
    """What is compared: all names below a folder begin with its own and a `/`."""
    path, is_folder = child
    return os.fsencode(path + "/" if is_folder else path + "!/" if is_archive_name(path) else path)


def _is_wanted(child: os.DirEntry) -> bool:
    if child.name.startswith("."):
        return False
    known = is_image_name(child.name) or is_video_name(child.name) or is_archive_name(child.name)
    return _is_folder(child) or (known and (child.is_file(follow_symlinks=False) or child.is_symlink()))


def _is_folder(child: os.DirEntry) -> bool:
    try:
        return child.is_dir()
    except OSError:  # a link to itself
        return False


def _identity(folder: str) -> tuple[int, int] | None:
    try:
        status = os.stat(folder)
    except OSError:
        return None
    return status.st_dev, status.st_ino
