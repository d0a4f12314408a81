"""The loop that anyone would write first: Pillow and the embedded model, on a few processes. A bound to compare with.

python -m tests.bench.plain PICTURES PROCESSES

No statistics, no digests, no margins, no time-outs, no files; a picture that cannot be read is left out.
"""

import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

from fastdup_ray.extract.model import BATCH, Model


def rows_of(paths: list[Path]) -> np.ndarray:
    model, rows = Model(), []
    for batch in _batched(paths):
        pixels = [picture for path in batch if (picture := _pixels(path, model.size)) is not None]
        rows += [model.embed(np.stack(pixels))] if pixels else []
    return np.concatenate(rows)


def _batched(paths: list[Path]):
    return (paths[start : start + BATCH] for start in range(0, len(paths), BATCH))


def _pixels(path: Path, size: tuple[int, int]) -> np.ndarray | None:
    try:
        with Image.open(path) as image:
            image.draft("RGB", size)
            return np.asarray(image.convert("RGB").resize(size, Image.Resampling.BILINEAR))
    except OSError:
        return None


def main() -> None:
    folder, processes = Path(sys.argv[1]), int(sys.argv[2])
    paths = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    with ProcessPoolExecutor(processes) as pool:
        parts = list(pool.map(rows_of, [paths[start::processes] for start in range(processes)]))
    np.save("/dev/null", np.concatenate(parts))


if __name__ == "__main__":
    main()
