"""Choose the pictures for the fit and for the measurement out of a folder of packages, no scene twice."""

import io
import warnings
from pathlib import Path

import imagehash
import numpy as np
from PIL import Image, ImageOps

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
SUFFIXES = {".jpg", ".jpeg", ".png", ".webp"}
SHORTEST_SIDE = 200
FEWEST_COLOURS = 2000  # of 96 x 96 pixels; fewer is a drawing, an icon or a plain surface
SAME_SCENE_BITS = 12  # of the 64 of a perceptual hash
WORKING_SIDE = 400


def decode(data: bytes) -> np.ndarray:
    """File bytes to the network's input, (128, 128, 3) uint8 RGB."""
    with Image.open(io.BytesIO(data)) as picture:
        return np.asarray(picture.convert("RGB").resize((128, 128), Image.Resampling.BILINEAR))


def working_copy(path: Path) -> Image.Image:
    """The upright RGB picture, its longer side at most 400 px: what the edits start from."""
    with Image.open(path) as picture:
        picture.draft("RGB", (2 * WORKING_SIDE, 2 * WORKING_SIDE))  # quick for large JPEGs, no effect on the others
        upright = ImageOps.exif_transpose(picture).convert("RGBA")
    opaque = Image.alpha_composite(Image.new("RGBA", upright.size, "white"), upright).convert("RGB")
    opaque.thumbnail((WORKING_SIDE, WORKING_SIDE), Image.Resampling.LANCZOS)
    return opaque


def is_photograph(path: Path) -> bool:
    try:
        with Image.open(path) as picture:
            if min(picture.size) < SHORTEST_SIDE:
                return False
            picture.draft("RGB", (SHORTEST_SIDE, SHORTEST_SIDE))
            small = picture.convert("RGB").resize((96, 96))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return False
    return len(small.getcolors(96 * 96)) > FEWEST_COLOURS


def choose(folder: Path) -> tuple[list[Path], list[Path]]:
    """(fit, held out) pictures of a folder that has one sub-folder a package.

    A picture whose perceptual hash is near that of an earlier one is left out, in the fit also when it is near a
    held-out one. The order is that of the file names.
    """
    packages = sorted(path for path in folder.iterdir() if path.is_dir())
    held_out_first = sorted(packages, key=lambda package: package.name not in HELD_OUT)
    chosen: dict[bool, list[Path]] = {True: [], False: []}
    hashes = np.empty((0, 64), bool)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's remarks on odd palettes and large pictures
        for package in held_out_first:
            files = (p for p in package.rglob("*") if p.suffix.lower() in SUFFIXES and not p.is_symlink())
            for path in filter(is_photograph, sorted(files)):
                bits = imagehash.phash(working_copy(path)).hash.reshape(1, 64)
                if (hashes != bits).sum(1).min(initial=64) > SAME_SCENE_BITS:
                    hashes = np.concatenate([hashes, bits])
                    chosen[package.name in HELD_OUT].append(path)
    return chosen[False], chosen[True]
