"""Choose the images for training and for measuring from a folder of packages, without near duplicates."""

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

from fastdup_ray.common.arrays import BoolArray
from fastdup_ray.extract.pillow_settings import strict_pillow

# Never used in training: the figures of the model card come from these packages alone.
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
# Not used in training either: for choosing between two models.
VALIDATION = ("kstars-data", "marble-data", "propaganda-debian", "wand-doc")
# Of the held-out packages those with screenshots of one program, which repeat the same content.
SCREENSHOTS = ("deepin-image-viewer", "fotoxx-common", "kphotoalbum", "labelme-examples")
# Variants of held-out images that a perceptual hash does not recognize, found by eye: upright, dark or light, another
# time of day, lens or projection. It is open to debate whether they are duplicates.
EDITIONS = re.compile(
    r"/(1080x1920|1622x2880|720x1440)\.|/images_dark/|-l\.webp$|/env/[^/]+/(evening|night|sunny)/"
    r"|/(Bubble|Pincushion)-distortion|/Big_ben_(cubic|cylindrical|rectilinear|stereographic)"
    r"|horizontal_stereographic|_2x\."
)
SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".tga"}
TEXTURE_MAPS = re.compile(r"[_-](bump|disp|gloss|glow|height|local|mask|nm|norm|normal|spec)$")  # not images
MAX_PER_PACKAGE = 600  # for training; some packages have thousands of one kind
SHORTEST_SIDE = 200
FEWEST_COLORS = 2000  # of 96 x 96 pixels; an image with fewer is a drawing, an icon or a plain surface
SAME_SCENE_BITS = 12  # of the 64 of a perceptual hash
WORKING_SIDE = 400


def load_working_copy(path: Path, side: int = WORKING_SIDE) -> Image.Image:
    """Load an image as edits need it: upright, RGB, on white, its longer side at most `side` pixels."""
    with strict_pillow(), Image.open(path) as image:
        image.draft("RGB", (side, side))  # quick for large JPEGs, without effect on other formats
        small = ImageOps.exif_transpose(image).convert("RGBA" if image.has_transparency_data else "RGB")
    small.thumbnail((side, side), Image.Resampling.LANCZOS, reducing_gap=2)
    if small.mode == "RGB":
        return small
    return Image.alpha_composite(Image.new("RGBA", small.size, "white"), small).convert("RGB")


def hash_scene(path: Path) -> BoolArray | None:
    """Return the perceptual hash, (64,) bool, of a photograph; None if it is not one or cannot be read."""
    try:
        with strict_pillow(), Image.open(path) as image:
            if min(image.size) < SHORTEST_SIDE:
                return None
        small = load_working_copy(path)
    except (OSError, ValueError, SyntaxError, NotImplementedError):
        return None
    colors = small.resize((96, 96)).getcolors(96 * 96)
    if colors is None or len(colors) <= FEWEST_COLORS:
        return None
    bits: BoolArray = imagehash.phash(small).hash.ravel()
    return bits


def list_held_out(folder: Path, jobs: int) -> dict[Path, BoolArray]:
    """List the images of the packages in `HELD_OUT` by name, each with its perceptual hash; of similar ones the first.

    Args:
        folder: A folder with one subfolder per package.
        jobs: Number of processes.
    """
    files = sorted(path for path in _iter_files(folder) if get_package(path, folder) in HELD_OUT)
    return _drop_similar(files, {}, folder, jobs)


def list_training_images(folder: Path, jobs: int) -> list[Path]:
    """List the images of the other packages in a pseudorandom order, without any similar to an earlier or held-out one.

    Args:
        folder: A folder with one subfolder per package.
        jobs: Number of processes.
    """
    others = [path for path in _iter_files(folder) if get_package(path, folder) not in HELD_OUT]
    others.sort(key=lambda path: (zlib.crc32(str(path.relative_to(folder)).encode()), path))
    return [
        path
        for path in _drop_similar(others, list_held_out(folder, jobs), folder, jobs, MAX_PER_PACKAGE)
        if get_package(path, folder) not in VALIDATION
    ]


def _iter_files(folder: Path) -> Iterator[Path]:
    for path in folder.rglob("*"):
        if path.suffix.lower() in SUFFIXES and not path.is_symlink() and not TEXTURE_MAPS.search(path.stem.lower()):
            yield path


def _drop_similar(
    files: Sequence[Path], reserved: dict[Path, BoolArray], folder: Path, jobs: int, most: int = sys.maxsize
) -> dict[Path, BoolArray]:
    """Return the files, with their hashes, not similar to a reserved or an earlier one; at most `most` of a package."""
    with ProcessPoolExecutor(jobs) as pool:
        hashes = list(pool.map(hash_scene, files, chunksize=32))
    seen = np.empty((len(reserved) + len(files), 64), bool)
    seen[: len(reserved)] = [*reserved.values()] or seen[:0]
    distinct: dict[Path, BoolArray] = {}
    of_package: Counter[str] = Counter()
    for path, bits in zip(files, hashes, strict=True):
        n = len(reserved) + len(distinct)
        package = get_package(path, folder)
        if bits is None or of_package[package] >= most:
            continue
        if (seen[:n] != bits).sum(1).min(initial=64) > SAME_SCENE_BITS:
            seen[n] = distinct[path] = bits
            of_package[package] += 1
    return distinct


def get_package(path: Path, folder: Path) -> str:
    return path.relative_to(folder).parts[0]
