"""Choose the pictures for the fit and for the measurement out of a folder of packages, no scene twice."""

from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import imagehash
import numpy as np
from PIL import Image, ImageOps

from fastdup_ray.extract.decode import careful_pillow

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
SUFFIXES = {".jpg", ".jpeg", ".png", ".webp"}
SHORTEST_SIDE = 200
FEWEST_COLOURS = 2000  # of 96 x 96 pixels; fewer is a drawing, an icon or a plain surface
SAME_SCENE_BITS = 12  # of the 64 of a perceptual hash
WORKING_SIDE = 400


def working_copy(path: Path, side: int = WORKING_SIDE) -> Image.Image:
    """The upright RGB picture on white, its longer side at most `side` pixels: what the edits start from."""
    with careful_pillow(), Image.open(path) as picture:
        picture.draft("RGB", (side, side))  # quick for large JPEGs, no effect on other formats
        small = ImageOps.exif_transpose(picture).convert("RGBA" if picture.has_transparency_data else "RGB")
    small.thumbnail((side, side), Image.Resampling.LANCZOS, reducing_gap=2)
    if small.mode == "RGB":
        return small
    return Image.alpha_composite(Image.new("RGBA", small.size, "white"), small).convert("RGB")


def scene(path: Path) -> np.ndarray | None:
    """Perceptual hash, (64,) bool, of a photograph; None for what is none, or cannot be read."""
    try:
        with careful_pillow(), Image.open(path) as picture:
            if min(picture.size) < SHORTEST_SIDE:
                return None
        picture = working_copy(path)
    except (OSError, ValueError, SyntaxError):
        return None
    if len(picture.resize((96, 96)).getcolors(96 * 96)) <= FEWEST_COLOURS:
        return None
    return imagehash.phash(picture).hash.ravel()


def choose(folder: Path, jobs: int) -> tuple[list[Path], list[Path]]:
    """(fit, held out) pictures of a folder that has one sub-folder a package, in the order of their names.

    A picture whose perceptual hash is near that of an earlier one is left out, in the fit also when it is near a
    held-out one.
    """
    files = [path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and not path.is_symlink()]
    files.sort(key=lambda path: (package(path, folder) not in HELD_OUT, path))  # the held-out pictures first
    with ProcessPoolExecutor(jobs) as pool:
        scenes = list(pool.map(scene, files, chunksize=32))
    fit, held_out = [], []
    kept = np.empty((0, 64), bool)
    for path, bits in zip(files, scenes, strict=True):
        if bits is not None and (kept != bits).sum(1).min(initial=64) > SAME_SCENE_BITS:
            kept = np.concatenate([kept, bits[None]])
            (held_out if package(path, folder) in HELD_OUT else fit).append(path)
    return fit, held_out


def package(path: Path, folder: Path) -> str:
    return path.relative_to(folder).parts[0]
