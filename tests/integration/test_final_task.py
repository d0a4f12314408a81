"""The memory of the last stage, and of galleries, grows little with the images."""

import subprocess
import sys

import pytest

MOST = 450
"""Bytes of memory per image, where four in five images are in a group, and the blocks of edges still grow."""

MOST_OF_GALLERIES = 600
"""The same for a gallery, which shows a few images. With whole columns of names it took 1,000 and more."""

FEW, MANY = 200_000, 400_000
"""So many images fill the lists of a report, and most blocks that are read at a time."""

MEASURE = """
import sys
from pathlib import Path
from tests.bench.outputs import measure, prepare
prepare(Path(sys.argv[1]), int(sys.argv[2]))
measure(Path(sys.argv[1]), int(sys.argv[2]))
"""

MEASURE_GALLERIES = """
import sys
from pathlib import Path
from tests.bench.command_memory import measure_commands
measure_commands(Path(sys.argv[1]), sys.argv[2:])
"""

GALLERIES = ("components", "similarity")


@pytest.mark.slow
def test_the_outputs_and_the_galleries_take_little_memory_per_image(tmp_path):
    folders = {count: tmp_path / str(count) for count in (FEW, MANY)}
    few, many = (measure_outputs(folder, count) for count, folder in folders.items())
    assert many - few < MOST * (MANY - FEW) / 1e6
    few, many = (read_memory(run(MEASURE_GALLERIES, folder, *GALLERIES)) for folder in folders.values())
    more = {name: (many[name] - few[name]) * 1e6 / (MANY - FEW) for name in GALLERIES}
    assert max(more.values()) < MOST_OF_GALLERIES, more


def measure_outputs(folder, count: int) -> int:
    """Return the most MB that the outputs of so many images take."""
    folder.mkdir()
    return max(read_memory(run(MEASURE, folder, count)).values())


def run(code: str, *arguments: object) -> str:
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def read_memory(lines: str) -> dict[str, int]:
    """Return the MB of each line."""
    return {line.split("\t")[0]: int(line.split("\t")[-1]) for line in lines.splitlines()}
