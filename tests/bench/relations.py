"""Measure what `compare` says of images and their copies: saved again, edited, and altered in one small place.

    python -m tests.bench.relations FOLDER [FOLDER …] -n 100

For each image: copies that are the same (saved again, smaller), every edit of `training.edits`, and copies in which a
patch of the size of a digit, or of a word, was replaced by another part of the same image.
"""

import argparse
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from fastdup_ray.extract.pillow_settings import strict_pillow
from fastdup_ray.inputs.suffixes import IMAGE_SUFFIXES
from fastdup_ray.training.edits import EDITS, encode
from fastdup_ray.verify.load import load_views
from fastdup_ray.verify.relate_files import relate_files

SEED = 7
SIDE = 1600
LEAST_SIDE = 64
LEAST_CHANGE = 12.0
"""Mean difference, in gray levels, of a patch from what was there: less may be no change at all."""


def save_again(image: Image.Image) -> Iterator[tuple[str, bytes]]:
    half = image.resize((image.width // 2, image.height // 2), Image.Resampling.LANCZOS)
    yield "JPEG 60", encode(image, 60)
    yield "JPEG 85", encode(image, 85)
    yield "WebP 60", encode(image, 60, "WEBP")
    yield "half, PNG", encode(half, format="PNG")
    yield "half, JPEG 75", encode(half, 75)


def alter(image: Image.Image, rng: np.random.Generator) -> Iterator[tuple[str, bytes]]:
    letter = max(8, min(image.size) // 50)
    for name, width in (("digit", letter), ("word", 4 * letter)):
        for _ in range(20):
            left, other_left = (int(value) for value in rng.integers(0, max(1, image.width - width), 2))
            top, other_top = (int(value) for value in rng.integers(0, max(1, image.height - letter), 2))
            patch = image.crop((other_left, other_top, other_left + width, other_top + letter))
            before = image.crop((left, top, left + width, top + letter))
            if np.abs(np.asarray(patch, float) - np.asarray(before, float)).mean() >= LEAST_CHANGE:
                altered = image.copy()
                altered.paste(patch, (left, top))
                yield name, encode(altered, 85)
                break


def measure(path: Path, seed: int) -> list[tuple[str, str, str]]:
    """(family, kind, relation) of each copy of an image."""
    rng = np.random.default_rng([seed, path.stat().st_size])
    with strict_pillow(), Image.open(path) as file:
        image = file.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
        image.thumbnail((SIDE, SIDE))
        if min(image.size) < LEAST_SIDE:
            return []
        original = load_views(encode(image, format="PNG"))
        photo = image.copy()
        photo.thumbnail((512, 512))
        families = {
            "saved again": (original, save_again(image)),
            "altered": (original, alter(image, rng)),
            "edited": (
                load_views(encode(photo, format="PNG")),
                ((kind, edit(photo, rng)) for kind, edit in EDITS.items()),
            ),
        }
        return [
            (family, kind, relate_files(source, load_views(data)).relation.value)
            for family, (source, copies) in families.items()
            for kind, data in copies
        ]


def list_images(folders: list[Path]) -> list[Path]:
    """Images of which none has the bytes of another."""
    paths = {path.read_bytes(): path for folder in folders for path in folder.rglob("*") if is_image(path)}
    return sorted(paths.values())


def is_image(path: Path) -> bool:
    return path.is_file() and path.suffix.lower() in IMAGE_SUFFIXES - {".gif", ".ico", ".tif", ".tiff"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", type=Path, nargs="+")
    parser.add_argument("-n", type=int, default=100, help="images to take")
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--jobs", type=int, default=2)
    args = parser.parse_args()
    paths = list_images(args.folders)
    chosen = [paths[i] for i in np.random.default_rng(args.seed).permutation(len(paths))[: args.n]]
    with ProcessPoolExecutor(args.jobs) as pool:
        found = [row for rows in pool.map(partial(measure, seed=args.seed), chosen) for row in rows]
    counts: dict[tuple[str, str], Counter[str]] = {}
    for family, kind, relation in found:
        counts.setdefault((family, kind), Counter())[relation] += 1
    for (family, kind), relations in counts.items():
        total = relations.total()
        shares = ", ".join(f"{name} {count / total:.3f}" for name, count in relations.most_common())
        print(f"{family:12} {kind:16} {total:5}  {shares}")


if __name__ == "__main__":
    main()
