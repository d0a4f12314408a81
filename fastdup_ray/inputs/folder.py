"""The pictures below a folder."""

import logging
import os
from collections.abc import Iterator

from fastdup_ray.inputs.local import ref_of, stat
from fastdup_ray.records import ImageRef

IMAGE_SUFFIXES = frozenset(
    [
        ".avif",
        ".bmp",
        ".dib",
        ".gif",
        ".heic",
        ".heif",
        ".ico",
        ".jfif",
        ".j2k",
        ".jp2",
        ".jpc",
        ".jpe",
        ".jpeg",
        ".jpf",
        ".jpg",
        ".jpx",
        ".mpo",
        ".pbm",
        ".pcx",
        ".pgm",
        ".png",
        ".pnm",
        ".ppm",
        ".psd",
        ".tga",
        ".tif",
        ".tiff",
        ".webp",
    ]
)

log = logging.getLogger(__name__)


def is_image_name(name: str) -> bool:
    return os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES


def walk(folder: str, leave_out: str) -> Iterator[ImageRef]:
    """The files with a known suffix below `folder`, sorted by the bytes of their paths.

    Hidden files and folders and the folder `leave_out` are left out. Links are followed; a file or folder that can be
    reached in several ways is there once, under the first of its names. A folder that cannot be listed is a warning.
    """
    paths = sorted(_paths(os.path.abspath(folder), leave_out), key=os.fsencode)
    seen: set[tuple[int, int]] = set()
    for path in paths:
        try:
            status = os.stat(path)
        except OSError:
            yield stat(path)
            continue
        inode = status.st_dev, status.st_ino
        if inode not in seen:
            seen.add(inode)
            yield ref_of(path, status)


def _paths(root: str, leave_out: str) -> Iterator[str]:
    visited = {_identity(leave_out)}
    stack = [root]
    while stack:
        folder = stack.pop()
        identity = _identity(folder)
        if identity in visited:
            continue
        visited.add(identity)
        try:
            children = sorted(os.scandir(folder), key=lambda child: os.fsencode(child.name), reverse=True)
        except OSError as error:
            log.warning("Cannot list %r: %s; what it holds is left out.", folder, error.strerror)
            continue
        for child in children:
            if child.name.startswith("."):
                continue
            if _is_folder(child):
                stack.append(child.path)
            elif is_image_name(child.name) and (child.is_file(follow_symlinks=False) or child.is_symlink()):
                yield child.path


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
