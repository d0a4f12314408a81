"""Which dropped images have a sidecar, such as an annotation, that their keepers lack."""

import os
from collections.abc import Collection, Iterator, Mapping

import numpy as np
import pyarrow as pa

from fastdup_ray.common.access import Access
from fastdup_ray.common.arrays import IntArray, split_array
from fastdup_ray.common.locations import is_remote
from fastdup_ray.common.names import escape_invisible
from fastdup_ray.curation.file_ops import FileMover, can_move, get_file_mover
from fastdup_ray.curation.folders import decode
from fastdup_ray.errors import RefusedError
from fastdup_ray.inputs.sidecars import SIDECAR_SUFFIXES, Sidecar, find_sidecars
from fastdup_ray.storage.tables import ROWS_PER_GROUP


def find_unique_sidecars(names: pa.Array, planned: IntArray, keepers: IntArray, access: Access) -> dict[int, str]:
    """Find the dropped images that `explain_unique_sidecars` yields, in limited memory.

    Only the names in folders that have sidecars are held.

    Args:
        names: (n,) raw names of all images, which may be mapped from a file.
        planned: (m,) int64 indices of the images of the plan.
        keepers: (m,) int64 index of the keeper of each, which is itself if it is kept.
        access: How buckets are accessed.

    Returns:
        The index of each such image, and why it should stay.
    """
    dropped = np.flatnonzero(planned != keepers)
    folders = _find_folders(names, planned[dropped], access)
    if not folders:
        return {}
    places = [dropped[place] for place, _ in _iter_names_in(folders, names, planned[dropped])]
    images, kept = (decode(names, some[places]) for some in (planned, keepers))
    folders.update(map(os.path.dirname, kept))
    others = [name for _, name in _iter_names_in(folders, names, planned)]
    rows = dict(zip(images, planned[places].tolist(), strict=True))
    found = explain_unique_sidecars(dict(zip(images, kept, strict=True)), others, access)
    return {rows[image]: reason for image, reason in found}


def _find_folders(names: pa.Array, rows: IntArray, access: Access) -> set[str]:
    """Return the folders of some images that have files which may be sidecars, of those that can be listed."""
    seen: set[str] = set()
    found: set[str] = set()
    for part in split_array(rows, ROWS_PER_GROUP):
        for image in decode(names, part):
            if (folder := os.path.dirname(image)) not in seen and can_move(image):
                seen.add(folder)
                try:
                    files = get_file_mover(image, access).list_siblings(image)
                except RefusedError:
                    continue
                if any(os.path.splitext(file)[1].lower() in SIDECAR_SUFFIXES for file in files):
                    found.add(folder)
    return found


def _iter_names_in(folders: Collection[str], names: pa.Array, rows: IntArray) -> Iterator[tuple[int, str]]:
    """Yield the places in `rows` of the images in some folders, and their names."""
    for start in range(0, len(rows), ROWS_PER_GROUP):
        for place, name in enumerate(decode(names, rows[start : start + ROWS_PER_GROUP]), start):
            if os.path.dirname(name) in folders:
                yield place, name


def explain_unique_sidecars(
    keepers: Mapping[str, str], planned: Collection[str], access: Access
) -> Iterator[tuple[str, str]]:
    """Yield the dropped images with a sidecar that their keepers lack, or have with other content.

    Only folders with dropped images, and with keepers of those that have sidecars, are listed. Sidecars that stay with
    another image do not count.

    Args:
        keepers: The dropped images, each with the kept one that it duplicates.
        planned: All images of the plan, which are never sidecars.
        access: How buckets are accessed.

    Yields:
        Name of the image, and why it should stay: the first such sidecar. The reason continues "it stays, because …".
    """
    folders = _SidecarFolders(planned, access)
    for image, keeper in keepers.items():
        for sidecar in folders.list_sidecars(image):
            stays = any(owner not in keepers for owner in sidecar.images)
            reason = "" if stays else folders.explain_unique(sidecar, keeper)
            if reason:
                yield image, reason
                break


class _SidecarFolders:
    """The sidecars of folders, each listed once."""

    def __init__(self, planned: Collection[str], access: Access) -> None:
        self._access = access
        self._planned: dict[str, list[str]] = {}
        for name in planned:
            self._planned.setdefault(os.path.dirname(name), []).append(name)
        self._listed: dict[str, dict[str, list[Sidecar]]] = {}

    def list_sidecars(self, image: str) -> list[Sidecar]:
        """Return the sidecars of an image; none if its folder cannot be listed."""
        folder = os.path.dirname(image)
        if folder not in self._listed:
            by_image: dict[str, list[Sidecar]] = {}
            self._listed[folder] = by_image
            for sidecar in self._find(folder, image):
                for owner in sidecar.images:
                    by_image.setdefault(owner, []).append(sidecar)
        return self._listed[folder].get(image, [])

    def explain_unique(self, sidecar: Sidecar, keeper: str) -> str:
        """Return what the keeper lacks: a sidecar like this one, or its content; "" if it has both."""
        name = escape_invisible(os.path.basename(sidecar.name))
        suffix = _get_suffix(sidecar)
        others = [other for other in self.list_sidecars(keeper) if _get_suffix(other) == suffix]
        if not others:
            return f"its keeper has no sidecar like {name}"
        if any(self._have_same_content(sidecar.name, other.name) for other in others):
            return ""
        return f"its sidecar {name} differs from {escape_invisible(os.path.basename(others[0].name))} of its keeper"

    def _find(self, folder: str, image: str) -> Iterator[Sidecar]:
        if not can_move(image):
            return
        try:
            files = self._get_mover(image).list_siblings(image)
        except RefusedError:
            return
        yield from find_sidecars(files, self._planned.get(folder, []))

    def _have_same_content(self, first: str, second: str) -> bool:
        mover = self._get_mover(first)
        if self._get_mover(second) is not mover:
            return False
        try:
            if not is_remote(first) and os.path.getsize(first) != os.path.getsize(second):
                return False  # a large raw file is not read
            one, other = (
                mover.describe(f"{mover.resolve(os.path.dirname(name))}/{os.path.basename(name)}")
                for name in (first, second)
            )
        except (RefusedError, OSError):
            return False
        return one == other

    def _get_mover(self, name: str) -> FileMover:
        return get_file_mover(name, self._access)


def _get_suffix(sidecar: Sidecar) -> str:
    return os.path.splitext(sidecar.name)[1].lower()
