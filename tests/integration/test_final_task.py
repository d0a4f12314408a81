"""The memory of the last stage grows little with the images."""

import subprocess
import sys

import pytest

MOST = 450
"""Bytes of memory per image, where four in five images are in a group, and the blocks of edges still grow."""

FEW, MANY = 200_000, 400_000
"""So many images fill the lists of a report, and most blocks that are read at a time."""

MEASURE = """
import sys
from pathlib import Path
from tests.bench.outputs import measure, prepare
prepare(Path(sys.argv[1]), int(sys.argv[2]))
measure(Path(sys.argv[1]), int(sys.argv[2]))
"""


@pytest.mark.slow
def test_the_outputs_take_little_memory_per_image(tmp_path):
    few, many = (measure_outputs(tmp_path / str(count), count) for count in (FEW, MANY))
    assert many - few < MOST * (MANY - FEW) / 1e6


def measure_outputs(folder, count: int) -> int:
    """Return the most MB that the outputs of so many images take."""
    folder.mkdir()
    command = [sys.executable, "-c", MEASURE, str(folder), str(count)]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return max(int(line.split("\t")[-1]) for line in text.splitlines())
