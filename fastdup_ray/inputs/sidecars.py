"""Sidecars: files that belong to an image by their name, such as captions, labels, edits and raw files."""

import os
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from fastdup_ray.inputs.suffixes import RAW_SUFFIXES, is_image_name, is_raw_name, is_video_name

SIDECAR_SUFFIXES = RAW_SUFFIXES | {
    *(".aae", ".caption", ".captions", ".cls", ".dop", ".json", ".npy", ".npz", ".pp3", ".tags", ".thm"),
    *(".txt", ".xml", ".xmp", ".yaml", ".yml"),
}
"""Files that belong to an image of the same name: captions, labels, arrays, edits, and the raw file of the camera."""


@dataclass(frozen=True, slots=True)
class Sidecar:
    """A file that belongs to one or more images.

    Attributes:
        name: Of the file.
        images: The images, or videos, that it belongs to.
    """

    name: str
    images: tuple[str, ...]


def find_sidecars(files: Sequence[str], listed: Collection[str]) -> Iterator[Sidecar]:
    """Yield the sidecars in a folder.

    `a.xmp` belongs to `a.jpg`, and also to `a.png` and `A.mp4` if they exist; `a.jpg.xmp` belongs to `a.jpg` alone. A
    raw file is a sidecar only if it is not listed.

    Args:
        files: The names of all files in the folder.
        listed: Names of images of the run in that folder, even if they are gone. They count as images, and never as
            sidecars, whatever their extension.
    """
    candidates = [name for name in files if os.path.splitext(name)[1].lower() in SIDECAR_SUFFIXES]
    if not candidates:
        return
    images = {name for name in files if _is_owner(name)} | set(listed)
    by_stem: dict[str, list[str]] = {}
    for name in sorted(images):
        by_stem.setdefault(os.path.splitext(name)[0].casefold(), []).append(name)
    for name in candidates:
        if name not in images:
            stem = os.path.splitext(name)[0]
            owners = [stem] if stem in images else by_stem.get(stem.casefold(), [])
            if owners:
                yield Sidecar(name, tuple(owners))


def _is_owner(name: str) -> bool:
    return (is_image_name(name) and not is_raw_name(name)) or is_video_name(name)
