"""Images inside tar and zip archives, named `archive.tar!/inner/name.jpg`.

Listing reads the index of an archive once. The token of each entry has what reading needs (the archive's own token and
size, where the member begins, how it is packed), so that any process can read a member without the index.
"""

import io
import posixpath
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import BinaryIO

from fastdup_ray.common.access import Access
from fastdup_ray.common.records import ImageRef
from fastdup_ray.errors import BadImageError, ErrorCode
from fastdup_ray.inputs import archive_limits
from fastdup_ray.inputs.file_source import get_file_source
from fastdup_ray.inputs.skipped import SkippedFiles
from fastdup_ray.inputs.suffixes import is_archive_name, is_excluded_folder, is_image_name
from fastdup_ray.inputs.tar_archive import list_tar, read_from_tar
from fastdup_ray.inputs.zip_archive import list_zip, read_from_zip

_LARGEST = (1 << 63) - 1
"""The largest size of a file, and position in it."""


@dataclass(frozen=True, slots=True)
class ArchiveIndex:
    """What an archive contains.

    Attributes:
        members: Name -> entry, in the order of the archive; of several with one name, the last.
        problem: Why members may be missing.
    """

    members: dict[str, ImageRef]
    problem: BadImageError | None


def split_member(uri: str, access: Access) -> tuple[str, str] | None:
    """Split a name into an existing archive and a member; return None if it is not the name of a member."""
    at = uri.find("!/")
    while at >= 0:
        if is_archive_name(uri[:at]) and get_file_source(uri).is_file(uri[:at], access):
            return uri[:at], uri[at + 2 :]
        at = uri.find("!/", at + 1)
    return None


def list_members(path: str, skipped: SkippedFiles, access: Access) -> Iterator[ImageRef]:
    """List the images in an archive, in its order, without hidden ones, links and devices.

    Args:
        path: the path or URI of the archive.
        skipped: counts the files that are left out because of their suffix.
        access: how buckets are accessed.

    Yields:
        The entries; if the archive is damaged, the last one is the archive itself: reading it gives the reason.
    """
    archive = get_file_source(path).stat(path, access)
    index = _read_index(archive, access)
    for name, ref in index.members.items():
        if _is_hidden(name):
            continue
        if is_image_name(name):
            yield ref
        else:
            skipped.add(name)
    if index.problem is not None:
        yield archive


def stat(uri: str, access: Access) -> ImageRef:
    """Return the entry of a member, or of an archive itself; with size 0 and no token if it does not exist."""
    parts = split_member(uri, access)
    if parts is None:
        return get_file_source(uri).stat(uri, access)
    path, name = parts
    return _read_index(get_file_source(path).stat(path, access), access).members.get(name, ImageRef(uri, 0, ""))


@contextmanager
def open_entry(ref: ImageRef, access: Access) -> Iterator[BinaryIO]:
    """Open a member, if the archive is the one that was listed.

    Raises:
        BadImageError: where it cannot be read; for an archive itself, the reason why it is damaged.
    """
    parts = split_member(ref.uri, access)
    if parts is None:
        raise _read_index(get_file_source(ref.uri).stat(ref.uri, access), access).problem or BadImageError(
            ErrorCode.CHANGED, "the archive is whole by now"
        )
    if not ref.mtime_or_etag:
        ref = stat(ref.uri, access)
    if not ref.mtime_or_etag:
        problem = _read_index(get_file_source(parts[0]).stat(parts[0], access), access).problem
        raise problem or BadImageError(ErrorCode.MISSING, "the archive has no such file")
    if ref.size > archive_limits.MAX_MEMBER:
        raise BadImageError(
            ErrorCode.TOO_LARGE, f"{ref.size:,} bytes; {archive_limits.MAX_MEMBER:,} are possible in an archive"
        )
    token, size, *location = ref.mtime_or_etag.split(":")
    archive = ImageRef(parts[0], int(size), token)
    with get_file_source(archive.uri).open_entry(archive, access, parts=True) as file:
        start, *of_zip = map(int, location)
        if of_zip:
            data = read_from_zip(file, archive.size, ref.size, start, *of_zip)
        else:
            data = read_from_tar(file, archive, access, ref.size, start)
    yield io.BytesIO(data)


def _is_hidden(name: str) -> bool:
    """Names with `..` in them, which lead out of the archive, count as hidden."""
    *folders, file = name.split("/")
    return file.startswith(".") or any(map(is_excluded_folder, folders))


@lru_cache(maxsize=4)
def _read_index(archive: ImageRef, access: Access) -> ArchiveIndex:
    members: dict[str, ImageRef] = {}
    problem = None
    try:
        with get_file_source(archive.uri).open_entry(archive, access, parts=True) as file:
            head = file.read(4)
            file.seek(0)
            for name, size, *location in (list_zip if head.startswith(b"PK") else list_tar)(file, archive.size):
                if not all(0 <= number <= _LARGEST for number in (size, *location)):
                    raise BadImageError(ErrorCode.CORRUPT, "the archive is broken: its list has impossible sizes")
                name = posixpath.normpath(name).lstrip("/")
                token = ":".join(map(str, (archive.mtime_or_etag, archive.size, *location)))
                members.pop(name, None)
                members[name] = ImageRef(f"{archive.uri}!/{name}", size, token)
    except BadImageError as error:
        problem = error
    return ArchiveIndex(members, problem)
