"""Of very many entries, each takes little memory in any process, and a run with nothing new takes little time."""

import pytest

from tests.bench.planted import PlantedRun
from tests.bench.scale import Cost, measure_all

MOST = 100
"""Bytes of memory per entry."""

FEW, MANY = 1_000_000, 4_000_000

SECONDS = 15
"""CPU time of a run with nothing new over `FEW`."""

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def few(tmp_path_factory) -> dict[str, Cost]:
    return measure_parts(tmp_path_factory, FEW, ["list", "merge", "outputs", "again"])


@pytest.fixture(scope="module")
def many(tmp_path_factory) -> dict[str, Cost]:
    return measure_parts(tmp_path_factory, MANY, ["list", "merge"])


def measure_parts(tmp_path_factory, count: int, steps: list[str]) -> dict[str, Cost]:
    run = PlantedRun(tmp_path_factory.mktemp("planted") / "run", count, d=8)
    return {cost.name: cost for cost in measure_all(run, steps)}


@pytest.mark.parametrize("part", ["list", "reuse", "merge"])
def test_a_step_takes_little_memory_per_entry(part, few, many):
    assert many[part].memory - few[part].memory < MOST * (MANY - FEW)


def test_a_step_opens_few_files(few, many):
    assert max(cost.files for cost in [*few.values(), *many.values()]) < 100


def test_a_run_with_nothing_new_searches_nothing_and_takes_little_time(few):
    assert few["same again"].cpu < SECONDS  # it has asserted the former
