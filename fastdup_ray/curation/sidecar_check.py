"""Which dropped images have a sidecar, such as an annotation, that their keepers lack."""

import os
from collections.abc import Collection, Iterator, Mapping

from fastdup_ray.common.access import Access
from fastdup_ray.common.locations import is_remote
from fastdup_ray.common.names import escape_invisible
from fastdup_ray.curation.file_ops import FileMover, can_move, get_file_mover
from fastdup_ray.errors import RefusedError
from fastdup_ray.inputs.sidecars import Sidecar, find_sidecars


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
