"""Write the benchmark: held-out pictures, look-alikes among them, and copies of some by every kind of edit.

    python -m tests.bench.edits --photos DIR --out DIR -n 10000
    fastdup-ray evaluate OUT OUT/truth.csv

DIR has one sub-folder a package; only the packages that the fit of the embedded model never sees are taken, and of them
no screenshots, which show the same things over and over, and no second edition of a picture. Every photograph gives
disjoint cells, each a picture of its own. truth.csv: path,group,edit,source.
"""

import argparse
import csv
import io
import zlib
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from fastdup_ray.training.cells import LONGEST_SIDE, iter_cells
from fastdup_ray.training.edits import EDITS, ORIGINAL_QUALITY, encode
from fastdup_ray.training.photos import (
    EDITIONS,
    SCREENSHOTS,
    WORKING_SIDE,
    get_package,
    list_held_out,
    load_working_copy,
)

SEED = 7
COPIES = 2
"""Of a picture that has any, each by another edit."""

CELL_SIDE, MOST_CELLS = 160, 80
"""Smaller and more than the fit takes: look-alikes are what decides among many pictures."""


def originals(path: Path) -> list[bytes]:
    """The cells of a photograph, or the whole where it has none, as JPEG files."""
    photograph = load_working_copy(path, LONGEST_SIDE)
    parts = list(iter_cells(photograph, CELL_SIDE, MOST_CELLS))
    pictures = parts if len(parts) > 1 else [photograph]
    for picture in pictures:
        picture.thumbnail((WORKING_SIDE, WORKING_SIDE), Image.Resampling.LANCZOS)
    return [encode(picture, ORIGINAL_QUALITY) for picture in pictures]


def copies(original: bytes, seed: int) -> Iterator[tuple[str, bytes]]:
    """(kind of edit, file) of `COPIES` kinds, drawn by the seed and the picture."""
    rng = np.random.default_rng([seed, zlib.crc32(original)])
    picture = Image.open(io.BytesIO(original)).convert("RGB")
    for kind in rng.choice(list(EDITS), COPIES, replace=False):
        yield str(kind), original if kind == "copy" else EDITS[kind](picture, rng)


def _copies(original: bytes, seed: int) -> list[tuple[str, bytes]]:
    return list(copies(original, seed))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, required=True, help="folder with one sub-folder a package")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("-n", type=int, default=10_000, help="pictures to write, where the packages give so many")
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--jobs", type=int, default=2)
    args = parser.parse_args()

    photographs = [
        path
        for path in list_held_out(args.photos, args.jobs)
        if get_package(path, args.photos) not in SCREENSHOTS and not EDITIONS.search(str(path.relative_to(args.photos)))
    ]
    rng = np.random.default_rng(args.seed)
    with ProcessPoolExecutor(args.jobs) as pool:
        parts = pool.map(originals, photographs, chunksize=4)
        base = [(source, data) for source, files in zip(photographs, parts, strict=True) for data in files]
        base = [base[i] for i in rng.permutation(len(base))[: args.n]]
        edited = range(min(len(base), (args.n - len(base)) // COPIES))
        made = pool.map(partial(_copies, seed=args.seed), [base[group][1] for group in edited], chunksize=16)
        files = [(group, "", source, data) for group, (source, data) in enumerate(base)]
        files += [
            (group, kind, base[group][0], data)
            for group, list_ in zip(edited, made, strict=True)
            for kind, data in list_
        ]
    _write(args.out, args.photos, [files[i] for i in rng.permutation(len(files))])
    print(f"{len(files)} pictures: {len(base)} of {len(photographs)} photographs, and copies of {len(edited)} of them")


def _write(out: Path, photos: Path, files: list[tuple[int, str, Path, bytes]]) -> None:
    """In folders of a thousand, in names that tell nothing."""
    out.mkdir(parents=True)
    with open(out / "truth.csv", "w", encoding="utf-8", newline="") as truth:
        writer = csv.writer(truth)
        writer.writerow(("path", "group", "edit", "source"))
        for number, (group, kind, source, data) in enumerate(files):
            suffix = Image.open(io.BytesIO(data)).format.lower().replace("jpeg", "jpg")
            name = f"{number // 1000:03d}/{number:06d}.{suffix}"
            path = out / name
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(data)
            writer.writerow((name, group, kind, source.relative_to(photos)))


if __name__ == "__main__":
    main()
