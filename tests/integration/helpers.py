"""What the integration tests share: the command in a process of its own, and comparing what it leaves."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
from PIL import Image

PHOTOS = Path(__file__).parents[1] / "data" / "photos"

SAME_EVERY_TIME = (
    "features.dat",
    "features.dat.csv",
    "features.bad.csv",
    "features.dat.bad",
    "similarity.csv",
    "outliers.csv",
    "faiss.index",
    "components_info.csv",
    "connected_components.csv",
    "manifest.parquet",
    "images.parquet",
    "similarity.parquet",
    "components.parquet",
)


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-c", "from fastdup_ray.cli import main; main()", "run", *map(str, arguments)]


def start(*arguments: object, **environment: str) -> subprocess.Popen:
    return subprocess.Popen(
        command(*arguments),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **environment},
        start_new_session=True,
    )


def run(*arguments: object, **environment: str) -> subprocess.CompletedProcess:
    with start(*arguments, **environment) as process:
        out, err = process.communicate(timeout=300)
    return subprocess.CompletedProcess(arguments, process.returncode, out, err)


def assert_same_files(work_dir: Path, reference: Path) -> None:
    for name in SAME_EVERY_TIME:
        assert (work_dir / name).read_bytes() == (reference / name).read_bytes(), name


def summary_of(work_dir: Path) -> dict:
    return json.loads((work_dir / "summary.json").read_text())


def make_pictures(folder: Path, n: int, size: tuple[int, int] = (320, 240)) -> Path:
    """n unlike pictures: smooth random colours."""
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(0)
    for number in range(n):
        few = Image.fromarray(random.integers(0, 256, (6, 8, 3), np.uint8))
        few.resize(size, Image.Resampling.BICUBIC).save(folder / f"{number:04d}.jpg", quality=85)
    return folder
