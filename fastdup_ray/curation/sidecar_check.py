"""Which dropped images have a sidecar, such as an annotation, that their keepers lack."""

import os
from collections.abc import Collection, Iterator

import numpy as np
import pyarrow as pa

from fastdup_ray.analysis.sorting import sort_blocks
from fastdup_ray.common.access import Access
from fastdup_ray.common.arrays import IntArray, split_pairs
from fastdup_ray.common.locations import is_remote
from fastdup_ray.common.mapped_arrays import write_and_map
from fastdup_ray.common.names import escape_invisible
from fastdup_ray.common.scratch import Scratch
from fastdup_ray.curation.file_ops import FileMover, can_move, get_file_mover
from fastdup_ray.curation.folders import decode
from fastdup_ray.errors import RefusedError
from fastdup_ray.inputs.sidecars import SIDECAR_SUFFIXES, Sidecar, find_sidecars
from fastdup_ray.storage.disk_list import DiskList
from fastdup_ray.storage.tables import ROWS_PER_GROUP


def find_unique_sidecars(
    names: pa.Array, planned: IntArray, keepers: IntArray, access: Access, scratch: Scratch
) -> dict[int, str]:
    """Find the dropped images with a sidecar that their keepers lack, or have with other content.

    Sidecars that stay with another image do not count. In memory are the names of one folder, and what is returned.

    Args:
        names: (n,) raw names of all images, which may be mapped from a file.
        planned: (m,) int64 indices of the images of the plan, which are never sidecars.
        keepers: (m,) int64 index of the keeper of each, which is itself if it is kept.
        access: How buckets are accessed.
        scratch: Opens a temporary file.

    Returns:
        The index of each such image, and why it should stay: the first such sidecar. The reason continues "it stays,
        because …".
    """
    folders = _find_folders(names, planned, keepers, access)
    if not folders:
        return {}
    check = _SidecarCheck(names, planned, keepers, folders, access, scratch)
    return {int(planned[place]): reason for place, reason in check.iter_unique()}


def _find_folders(names: pa.Array, planned: IntArray, keepers: IntArray, access: Access) -> set[str]:
    """Return the folders of dropped images that have files which may be sidecars, and those of their keepers."""
    seen: set[str] = set()
    found: set[str] = set()
    for image, _ in _iter_dropped(names, planned, keepers):
        if (folder := os.path.dirname(image)) not in seen and can_move(image):
            seen.add(folder)
            try:
                files = get_file_mover(image, access).list_siblings(image)
            except RefusedError:
                continue
            if any(os.path.splitext(file)[1].lower() in SIDECAR_SUFFIXES for file in files):
                found.add(folder)
    if not found:
        return found
    pairs = _iter_dropped(names, planned, keepers)
    return found | {os.path.dirname(keeper) for image, keeper in pairs if os.path.dirname(image) in found}


def _iter_dropped(names: pa.Array, planned: IntArray, keepers: IntArray) -> Iterator[tuple[str, str]]:
    """Yield the names of the dropped images and of their keepers."""
    for rows, kept in split_pairs(planned, keepers, ROWS_PER_GROUP):
        is_dropped = rows != kept
        yield from zip(decode(names, rows[is_dropped]), decode(names, kept[is_dropped]), strict=True)


class _SidecarCheck:
    """Compares the sidecars of dropped images with those of their keepers, folder by folder.

    Args:
        names: As given to `find_unique_sidecars`, like the others.
        planned: The images of the plan.
        keepers: The keeper of each.
        folders: The folders to look at; the sidecars of other images are not compared.
        access: How buckets are accessed.
        scratch: Opens a temporary file.
    """

    def __init__(
        self,
        names: pa.Array,
        planned: IntArray,
        keepers: IntArray,
        folders: Collection[str],
        access: Access,
        scratch: Scratch,
    ) -> None:
        self._names, self._planned, self._keepers, self._access, self._scratch = (
            names,
            planned,
            keepers,
            access,
            scratch,
        )
        self._numbers = {folder: number for number, folder in enumerate(folders)}
        counts = np.zeros(len(folders), np.int64)

        def iter_keys() -> Iterator[IntArray]:
            """Yield number * m + place of the images in the folders."""
            for start in range(0, len(planned), ROWS_PER_GROUP):
                found = self._find_numbers(planned[start : start + ROWS_PER_GROUP])
                places = np.flatnonzero(found >= 0)
                np.add.at(counts, found[places], 1)
                yield found[places] * len(planned) + start + places

        keys = sort_blocks(iter_keys(), scratch)
        self._places = write_and_map((block % len(planned) for block in keys), np.int64, scratch())
        self._starts = np.cumsum([0, *counts])

    def iter_unique(self) -> Iterator[tuple[int, str]]:
        """Yield the places in `planned` of the dropped images that should stay, and why."""
        leaving: DiskList[tuple[int, list[Sidecar]]] = DiskList(self._scratch)

        def iter_keys() -> Iterator[IntArray]:
            """Yield number * m + position in `leaving`, with the number of the folder of the keeper."""
            for number in range(len(self._numbers)):
                some = [*self._iter_leaving(number)]
                theirs = self._find_numbers(self._keepers[[place for place, _ in some]])
                yield theirs * len(self._planned) + np.arange(len(leaving), len(leaving) + len(some))
                leaving.extend(some)

        listed, last = dict[str, list[Sidecar]](), -1
        for block in sort_blocks(iter_keys(), self._scratch):
            for number, position in zip(*(part.tolist() for part in np.divmod(block, len(self._planned))), strict=True):
                if number != last:
                    listed, last = self._list_sidecars(number), number
                place, sidecars = leaving[position]
                (keeper,) = decode(self._names, self._keepers[[place]])
                reasons = (self._explain_unique(sidecar, listed.get(keeper, [])) for sidecar in sidecars)
                if reason := next(filter(None, reasons), ""):
                    yield place, reason

    def _find_numbers(self, rows: IntArray) -> IntArray:
        """Return (b,) the number of the folder of each of b images, -1 for other folders."""
        numbers = (self._numbers.get(os.path.dirname(name), -1) for name in decode(self._names, rows))
        return np.fromiter(numbers, np.int64, len(rows))

    def _iter_leaving(self, number: int) -> Iterator[tuple[int, list[Sidecar]]]:
        """Yield the places of the dropped images in a folder that have sidecars all of whose images are dropped."""
        places = self._get_places(number)
        places = places[self._planned[places] != self._keepers[places]]
        dropped = dict(zip(decode(self._names, self._planned[places]), places.tolist(), strict=True))
        for image, sidecars in self._list_sidecars(number).items() if dropped else ():
            some = [sidecar for sidecar in sidecars if all(owner in dropped for owner in sidecar.images)]
            if image in dropped and some:
                yield dropped[image], some

    def _get_places(self, number: int) -> IntArray:
        places: IntArray = self._places[self._starts[number] : self._starts[number + 1]]
        return places

    def _list_sidecars(self, number: int) -> dict[str, list[Sidecar]]:
        """Return the sidecars of each image in a folder; none if the folder cannot be listed."""
        images = decode(self._names, self._planned[self._get_places(number)])
        by_image: dict[str, list[Sidecar]] = {}
        if images and can_move(images[0]):
            try:
                files = self._get_mover(images[0]).list_siblings(images[0])
            except RefusedError:
                return by_image
            for sidecar in find_sidecars(files, images):
                for owner in sidecar.images:
                    by_image.setdefault(owner, []).append(sidecar)
        return by_image

    def _explain_unique(self, sidecar: Sidecar, of_keeper: list[Sidecar]) -> str:
        """Return what the keeper lacks: a sidecar like this one, or its content; "" if it has both."""
        name = escape_invisible(os.path.basename(sidecar.name))
        suffix = _get_suffix(sidecar)
        others = [other for other in of_keeper if _get_suffix(other) == suffix]
        if not others:
            return f"its keeper has no sidecar like {name}"
        if any(self._have_same_content(sidecar.name, other.name) for other in others):
            return ""
        return f"its sidecar {name} differs from {escape_invisible(os.path.basename(others[0].name))} of its keeper"

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
