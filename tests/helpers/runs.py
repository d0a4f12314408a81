"""Runs in this process, and what they leave."""

import csv
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

PHOTOS = Path(__file__).parents[1] / "data" / "photos"


SAME_BYTES = (
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
    "exact_copies.csv",
    "verified_pairs.parquet",
    "verified_pairs.csv",
)
"""Outputs that depend on the pictures and the question alone, never on how the work was done."""


EVERY_FILE = {*SAME_BYTES, "config.json", "summary.json", "report/index.html"}
"""What a run leaves in an otherwise empty work_dir."""


@dataclass(frozen=True)
class Photo:
    """A line of photos.csv. path: absolute. group: pictures that show the same. code: why it is bad, or None."""

    path: str
    group: str
    kind: str

    @property
    def code(self) -> str | None:
        return self.kind.removeprefix("bad:") if self.kind.startswith("bad:") else None


def run_inline(input_dir: Any, work_dir: Path, **parameters: Any):
    """`deduplicate` in this process; returns its `RunResult`."""
    from fastdup_ray import RunConfig, deduplicate

    return deduplicate(RunConfig.of(input_dir=input_dir, work_dir=work_dir, **{"executor": "inline"} | parameters))


@contextmanager
def deadline(seconds: int) -> Iterator[None]:
    """Fails what hangs instead of hanging with it."""

    def give_up(*_: Any) -> None:
        pytest.fail(f"not done after {seconds} seconds")

    before = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def outputs(work_dir: Path) -> dict[str, bytes]:
    """The bytes of those outputs that every way of doing the work has to agree on."""
    return {name: (work_dir / name).read_bytes() for name in SAME_BYTES if (work_dir / name).exists()}


def files_below(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def csv_rows(path: Path) -> list[list[str]]:
    """All rows of a CSV, its header among them; bytes that are not UTF-8 as surrogates."""
    with open(path, encoding="utf-8", errors="surrogateescape", newline="") as file:
        return list(csv.reader(file, strict=True))
