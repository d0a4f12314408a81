"""What stands beside a picture under its name, and goes with it: captions, labels, edits, raw files."""

import os
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from fastdup_ray.inputs.suffixes import SIDECAR_SUFFIXES, is_image_name, is_video_name


@dataclass(frozen=True, slots=True)
class Sidecar:
    """A file that one or more `pictures`, which may be videos, have beside them."""

    name: str
    images: tuple[str, ...]


def find_sidecars(folder: Sequence[str], listed: Collection[str]) -> Iterator[Sidecar]:
    """The sidecars in a folder.

    folder: the names of all files that are in it. listed: names of pictures of the run, in it by now or no more, which
    are pictures whatever their suffix says.

    `a.xmp` belongs to `a.jpg`, and to `a.png` and `A.mp4` as well where these are there; `a.jpg.xmp` to `a.jpg` alone.
    """
    pictures = {name for name in folder if is_image_name(name) or is_video_name(name)} | set(listed)
    of_stem: dict[str, list[str]] = {}
    for name in sorted(pictures):
        of_stem.setdefault(os.path.splitext(name)[0].casefold(), []).append(name)
    for name in folder:
        stem, suffix = os.path.splitext(name)
        if suffix.lower() in SIDECAR_SUFFIXES and name not in pictures:
            owners = [stem] if stem in pictures else of_stem.get(stem.casefold(), [])
            if owners:
                yield Sidecar(name, tuple(owners))
