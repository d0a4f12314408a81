"""The text files of a YOLO data set, and the photos that each belongs to.

A text file has the name of its photo, but for the extension, and is in one of these places: where the path of the photo
has `labels` instead of its last folder `images`, as ultralytics looks for it; at the same place below the folder of the
text files as the photo below the input; or beside the photo.
"""

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice

from fastdup_ray.common.access import Access
from fastdup_ray.common.locations import is_remote
from fastdup_ray.common.names import to_utf8
from fastdup_ray.common.records import ImageRef
from fastdup_ray.common.requests import LISTING_THREADS
from fastdup_ray.errors import BadImageError, InputError
from fastdup_ray.inputs import archive, folder
from fastdup_ray.inputs.file_source import get_remote_source
from fastdup_ray.inputs.globs import Patterns
from fastdup_ray.inputs.skipped import SkippedFiles
from fastdup_ray.inputs.sources import open_entry
from fastdup_ray.inputs.suffixes import is_excluded_folder, is_image_name
from fastdup_ray.inputs.yolo_classes import CLASSES_TXT

LARGEST = 16 << 20
"""Bytes of the largest text file that is read."""

_AT_ONCE = 256
"""Text files that are in memory at a time."""


@dataclass(frozen=True, slots=True)
class TextFile:
    """A text file.

    Attributes:
        ref: Its entry; of a local file, without size and token.
        photos: Names of the photos it belongs to, relative to the input: none, one, or some with several extensions.
    """

    ref: ImageRef
    photos: tuple[str, ...]


def list_texts(labels: str, root: str, access: Access, *, is_archive: bool) -> list[TextFile]:
    """Return the text files below a folder, sorted by the bytes of their paths.

    Args:
        labels: The folder, as absolute path or URI.
        root: The folder, bucket prefix or archive of the photos.
        access: How buckets are accessed.
        is_archive: Whether `root` is an archive.

    Raises:
        InputError: One of them cannot be listed, or no text file belongs to a photo.
    """
    found = {ref.uri: ref for ref in _list_files(labels, _is_text_name, access)}
    if not found:
        raise InputError(f"{labels!r} has no text files (.txt), as YOLO has them.")
    photos: dict[str, list[str]] = {}
    start = root + "!/" if is_archive else root.rstrip("/") + "/"
    for photo in _list_members(root, access) if is_archive else _list_files(root, is_image_name, access):
        text = next((name for name in _iter_candidates(photo.uri, start, labels) if name in found), None)
        if text is not None:
            photos.setdefault(text, []).append(to_utf8(photo.uri.removeprefix(start)))
    if not photos:
        raise InputError(
            f"No photo in {root!r} belongs to a text file in {labels!r}, such as {next(iter(found))!r}: they need the "
            "same names, and places such as images/a/b.jpg and labels/a/b.txt."
        )
    return [TextFile(ref, tuple(photos.get(name, ()))) for name, ref in found.items()]


def read_lines(texts: Iterable[TextFile], access: Access) -> Iterator[tuple[TextFile, list[bytes]]]:
    """Yield text files, and their lines with what ends them; objects are read many at a time.

    Raises:
        InputError: One cannot be read, or is too large.
    """
    rest = iter(texts)
    with ThreadPoolExecutor(LISTING_THREADS) as pool:
        while batch := list(islice(rest, _AT_ONCE)):
            read = pool.map if is_remote(batch[0].ref.uri) else map
            yield from zip(batch, read(lambda text: _read(text.ref, access), batch), strict=True)


def _read(ref: ImageRef, access: Access) -> list[bytes]:
    data = b""
    try:
        if ref.size <= LARGEST:
            with open_entry(ref, access) as file:
                data = file.read(LARGEST + 1)
    except BadImageError as error:
        raise InputError(f"Cannot read {ref.uri!r}: {error.message}.") from None
    if max(ref.size, len(data)) > LARGEST:
        raise InputError(f"Cannot read {ref.uri!r}: it has more than {LARGEST >> 20} MiB, too many for one photo.")
    return data.splitlines(keepends=True)


def _iter_candidates(photo: str, start: str, labels: str) -> Iterator[str]:
    """Yield where the text file of a photo may be."""
    stem = os.path.splitext(photo)[0]
    before, images, after = stem.rpartition("/images/")
    if images:
        yield f"{before}/labels/{after}.txt"
    yield f"{labels}/{stem.removeprefix(start)}.txt"
    yield f"{stem}.txt"


def _is_text_name(name: str) -> bool:
    return name.endswith(".txt") and name.rpartition("/")[2] != CLASSES_TXT


def _list_files(location: str, is_wanted: Callable[[str], bool], access: Access) -> Iterator[ImageRef]:
    """List the files below a folder or prefix by their names, without hidden ones."""
    if not is_remote(location):
        return (ImageRef(path, 0, "") for path in folder.iter_paths(location, _Wanted(is_wanted)))
    start = location.rstrip("/") + "/"
    return get_remote_source(location).list_below(
        location, lambda ref: is_wanted(ref.uri) and not _is_hidden(ref.uri.removeprefix(start)), access
    )


def _list_members(path: str, access: Access) -> Iterator[ImageRef]:
    return (ref for ref in archive.list_members(path, SkippedFiles(), access) if ref.uri != path)


def _is_hidden(name: str) -> bool:
    *folders, file = name.split("/")
    return file.startswith(".") or any(map(is_excluded_folder, folders))


class _Wanted(Patterns):
    """Takes the files whose names are wanted."""

    def __init__(self, is_wanted: Callable[[str], bool]) -> None:
        super().__init__((), ())
        self._is_wanted = is_wanted

    def selects_suffix(self, name: str) -> bool:
        return self._is_wanted(name)
