"""Features without pictures: clustered as real ones are, with copies planted among them; any number, in little memory.

python -m tests.bench.rows WORK_DIR N [--seed 1]

Writes features.dat and features.dat.csv, from which run mode 2 goes on, and truth.npy: (m, 2) int64, the planted pairs.
"""

import argparse
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import numpy as np
import pyarrow.csv as pc

D = 576
BLOCK = 20_000

SCENE = 25
"""Rows to a scene on average."""

ALIKE = 0.45
"""The cosine of two rows of a scene, about; of others it is about 0, as between two real pictures."""

COPIES = 0.1
"""Part of the rows that are copies of an earlier one."""

COPY = (0.90, 0.999)
"""The cosine of a copy to its original, evenly from here to there."""

STRENGTH = np.linspace(1.6, 0.4, D, dtype=np.float32)
"""Of the dimensions: those of a fitted map are sorted by how much they tell."""


def blocks(n: int, seed: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(b, 576) float32 of length 1, and (m, 2) int64 pairs, copy and original, both numbered over all blocks.

    An original stands at most a block before its copy; which rows come does not depend on n but for the last block.
    """
    before = np.empty((0, D), np.float32)
    for start in range(0, n, BLOCK):
        random = np.random.default_rng([seed, start])
        size = min(BLOCK, n - start)
        scenes = _unit(random.standard_normal((max(1, size // SCENE), D), np.float32) * STRENGTH)
        own = _unit(random.standard_normal((size, D), np.float32) * STRENGTH)
        rows = _unit(ALIKE**0.5 * scenes[random.integers(len(scenes), size=size)] + (1 - ALIKE) ** 0.5 * own)
        copy = np.sort(random.choice(np.arange(size // 2, size), int(COPIES * size), replace=False))
        earlier = np.concatenate([before, rows[: size // 2]])
        original = random.integers(len(earlier), size=len(copy))
        cosine = random.uniform(*COPY, (len(copy), 1)).astype(np.float32)
        other = own[copy] - (own[copy] * earlier[original]).sum(1, keepdims=True) * earlier[original]
        rows[copy] = cosine * earlier[original] + (1 - cosine**2) ** 0.5 * _unit(other)
        yield rows, np.stack([start + copy, start - len(before) + original], axis=1)
        before = rows[size // 2 :]


def _unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def write(work_dir: Path, n: int, seed: int = 1, chosen: np.ndarray | None = None) -> None:
    """chosen: (n,) bool, the rows to write, if not all; they keep their names, and the planted pairs their numbers."""
    work_dir.mkdir(parents=True, exist_ok=True)
    pairs, index = [], count()
    with open(work_dir / "features.dat", "wb") as features, open(work_dir / "features.dat.csv", "w") as names:
        names.write("index,filename\n")
        for number, (rows, planted) in enumerate(blocks(n, seed)):
            start = number * BLOCK
            own = np.arange(len(rows)) if chosen is None else np.flatnonzero(chosen[start : start + len(rows)])
            rows[own].tofile(features)
            pairs.append(planted)
            names.writelines(f"{next(index)},/pictures/{start + row:09d}.jpg\n" for row in own.tolist())
    np.save(work_dir / "truth.npy", np.concatenate(pairs))


def planted_found(out: Path, chosen: np.ndarray | None = None) -> float:
    """The part of the planted pairs that is in similarity.csv: all are above the default threshold.

    chosen: (m,) bool, which of the pairs count, if not all."""
    table = pc.read_csv(out / "similarity.csv")
    ends = [np.char.partition(np.asarray(table[name], "S"), b"/pictures/")[:, 2] for name in ("from", "to")]
    found = {tuple(sorted((int(a[:9]), int(b[:9])))) for a, b in zip(*ends, strict=True)}
    planted = np.load(out / "truth.npy")
    truth = [tuple(sorted(pair)) for pair in (planted if chosen is None else planted[chosen]).tolist()]
    return sum(pair in found for pair in truth) / len(truth)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work_dir", type=Path)
    parser.add_argument("n", type=int)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    write(args.work_dir, args.n, args.seed)


if __name__ == "__main__":
    main()
