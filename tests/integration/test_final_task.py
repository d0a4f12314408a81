"""The memory of the last stage, and of what reads its outputs again, grows little with the images."""

import subprocess
import sys

import pytest

MOST = 250
"""Bytes of memory per image, where four in five images are in a group."""

FEW, MANY = 100_000, 250_000
"""So many images fill the lists of a report."""

STEPS = ("outputs", "plan")


@pytest.mark.slow
@pytest.mark.parametrize("step", STEPS)
def test_a_step_takes_little_memory_per_image(step, measured):
    few, many = (measured[rows, step]["MB"] for rows in (FEW, MANY))
    assert many - few < MOST * (MANY - FEW) / 1e6


@pytest.mark.slow
def test_no_step_takes_more_than_is_estimated(measured):
    for step in measured.values():
        assert step["MB"] < step["estimate"]


@pytest.fixture(scope="module")
def measured() -> dict[tuple[int, str], dict[str, float]]:
    """MB that were taken and estimated, for each number of images and step."""
    bench = [sys.executable, "-m", "tests.bench.stage_memory", "--d", "8", "--rows", str(FEW), str(MANY)]
    text = subprocess.run([*bench, "--steps", "merge", *STEPS], capture_output=True, text=True, check=True).stdout
    header, *lines = (line.replace(",", "").split("\t") for line in text.splitlines())
    rows = [dict(zip(header, line, strict=True)) for line in lines]
    return {(int(row["rows"]), row["step"]): {name: float(row[name]) for name in ("MB", "estimate")} for row in rows}
