"""A million entries are looked up and merged in little memory, and nothing in the way ends at 2 GiB."""

import subprocess
import sys

import pytest

MOST = 100
"""Bytes of memory per entry."""

FEW, MANY = 1 << 18, 1 << 20

MEASURE = """
import sys
from tests.bench.look_up import measure
measure(sys.argv[1], int(sys.argv[2]), 2000, 60)
"""


@pytest.mark.parametrize("step", ["find_missing", "lookup_entries", "merge_sets"])
def test_a_step_takes_little_memory_per_entry(step, steps):
    few, many = steps
    assert MANY * many[step] - FEW * few[step] < MOST * (MANY - FEW)


@pytest.fixture(scope="module")
def steps(tmp_path_factory) -> list[dict[str, int]]:
    """Bytes per entry of each step, for few and for many entries."""
    return [read_steps(tmp_path_factory.mktemp("planted"), count) for count in (FEW, MANY)]


def read_steps(folder, count: int) -> dict[str, int]:
    command = [sys.executable, "-c", MEASURE, folder, str(count)]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return {line.split("\t")[0]: int(line.split("\t")[-1]) for line in text.splitlines()}
