"""Choose the pictures for the fit and for the measurement out of a folder of packages, no scene twice."""

import re
import sys
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import imagehash
import numpy as np
from PIL import Image, ImageOps

from fastdup_ray.extract.pillow_settings import strict_pillow

# The fit never sees a picture of these packages; the figures of the model card come from them alone.
HELD_OUT = (
    "deepin-image-viewer",
    "extremetuxracer-data",
    "fotoxx-common",
    "gnome-backgrounds",
    "hugin-data",
    "kphotoalbum",
    "labelme-examples",
    "lomiri-wallpapers-16.04",
    "lomiri-wallpapers-20.04",
    "mate-backgrounds",
    "plasma-workspace-wallpapers",
    "python3-skimage",
    "python3-sklearn",
    "wordpress-theme-twentytwentyone",
)
# The fit does not see these either; by them one chooses between two fits.
VALIDATION = ("kstars-data", "marble-data", "propaganda-debian", "wand-doc")
# Of the held-out ones those with windows of one program, which show the same things over and over.
SCREENSHOTS = ("deepin-image-viewer", "fotoxx-common", "kphotoalbum", "labelme-examples")
# And pictures that are another edition of a held-out one (its upright, dark or light one, another daytime, lens or
# projection), which a perceptual hash does not tell: seen by eye. Nobody could say that they are strangers.
EDITIONS = re.compile(
    r"/(1080x1920|1622x2880|720x1440)\.|/images_dark/|-l\.webp$|/env/[^/]+/(evening|night|sunny)/"
    r"|/(Bubble|Pincushion)-distortion|/Big_ben_(cubic|cylindrical|rectilinear|stereographic)"
    r"|horizontal_stereographic|_2x\."
)
SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".tga"}
NO_PICTURE = re.compile(r"[_-](bump|disp|gloss|glow|height|local|mask|nm|norm|normal|spec)$")  # a texture's relief
MOST_OF_A_PACKAGE = 600  # for the fit; some have thousands of one kind
SHORTEST_SIDE = 200
FEWEST_COLOURS = 2000  # of 96 x 96 pixels; fewer is a drawing, an icon or a plain surface
SAME_SCENE_BITS = 12  # of the 64 of a perceptual hash
WORKING_SIDE = 400


def working_copy(path: Path, side: int = WORKING_SIDE) -> Image.Image:
    """The upright RGB picture on white, its longer side at most `side` pixels: what the edits start from."""
    with strict_pillow(), Image.open(path) as picture:
        picture.draft("RGB", (side, side))  # quick for large JPEGs, no effect on other formats
        small = ImageOps.exif_transpose(picture).convert("RGBA" if picture.has_transparency_data else "RGB")
    small.thumbnail((side, side), Image.Resampling.LANCZOS, reducing_gap=2)
    if small.mode == "RGB":
        return small
    return Image.alpha_composite(Image.new("RGBA", small.size, "white"), small).convert("RGB")


def scene(path: Path) -> np.ndarray | None:
    """Perceptual hash, (64,) bool, of a photograph; None for what is none, or cannot be read."""
    try:
        with strict_pillow(), Image.open(path) as picture:
            if min(picture.size) < SHORTEST_SIDE:
                return None
        picture = working_copy(path)
    except (OSError, ValueError, SyntaxError, NotImplementedError):
        return None
    if len(picture.resize((96, 96)).getcolors(96 * 96)) <= FEWEST_COLOURS:
        return None
    return imagehash.phash(picture).hash.ravel()


def held_out(folder: Path, jobs: int) -> dict[Path, np.ndarray]:
    """The pictures of the packages `HELD_OUT`, by name, and their perceptual hashes; of two near ones the first.

    folder: has one sub-folder a package.
    """
    files = sorted(path for path in _pictures(folder) if package(path, folder) in HELD_OUT)
    return _distinct(files, {}, folder, jobs)


def for_the_fit(folder: Path, jobs: int) -> list[Path]:
    """Those of all other packages, as if drawn: none near one that stands before it, or near a held-out one."""
    others = [path for path in _pictures(folder) if package(path, folder) not in HELD_OUT]
    others.sort(key=lambda path: (zlib.crc32(str(path.relative_to(folder)).encode()), path))
    known = held_out(folder, jobs)
    return [
        path
        for path in _distinct(others, known, folder, jobs, MOST_OF_A_PACKAGE)
        if package(path, folder) not in VALIDATION
    ]


def _pictures(folder: Path) -> Iterator[Path]:
    for path in folder.rglob("*"):
        if path.suffix.lower() in SUFFIXES and not path.is_symlink() and not NO_PICTURE.search(path.stem.lower()):
            yield path


def _distinct(
    files: Sequence[Path], known: dict[Path, np.ndarray], folder: Path, jobs: int, most: int = sys.maxsize
) -> dict[Path, np.ndarray]:
    """Of `files` the pictures not near a known or an earlier one, at most so many of a package, and their hashes."""
    with ProcessPoolExecutor(jobs) as pool:
        scenes = list(pool.map(scene, files, chunksize=32))
    kept = np.empty((len(known) + len(files), 64), bool)
    kept[: len(known)] = [*known.values()] or kept[:0]
    distinct: dict[Path, np.ndarray] = {}
    of_package: Counter[str] = Counter()
    for path, bits in zip(files, scenes, strict=True):
        size = len(known) + len(distinct)
        if bits is None or of_package[package(path, folder)] >= most:
            continue
        if (kept[:size] != bits).sum(1).min(initial=64) > SAME_SCENE_BITS:
            kept[size] = distinct[path] = bits
            of_package[package(path, folder)] += 1
    return distinct


def package(path: Path, folder: Path) -> str:
    return path.relative_to(folder).parts[0]
