"""The memory of the stages: what is estimated of it, and what is refused."""

import pytest

from fastdup_ray import RunConfig, deduplicate
from fastdup_ray.common import layout
from fastdup_ray.errors import ConfigError
from fastdup_ray.executors.inline import InlineExecutor
from fastdup_ray.neighbors.search_plan import plan_search
from fastdup_ray.runs.estimate import estimate_run
from fastdup_ray.runs.stage_memory import PROCESS_BYTES, RunSize, StageMemory, estimate_disk, estimate_stages
from tests.helpers.runs import PHOTOS


def estimate(n: int, run_mode: int = 0) -> StageMemory:
    config = RunConfig.of(input_dir="x", work_dir="y", run_mode=run_mode)
    return estimate_stages(config, RunSize.of_images(n, 576), plan_search(config, n, 576, 64 << 30) if n else None)


def test_memory_grows_with_the_entries_and_their_names():
    small, large = estimate(10_000), estimate(20_000)
    assert large.outputs > small.outputs
    for stage in ("list", "merge"):
        assert getattr(large, stage) - PROCESS_BYTES == 2 * (getattr(small, stage) - PROCESS_BYTES) > 0
    config = RunConfig.of(input_dir="x", work_dir="y")
    long = estimate_stages(config, RunSize(10_000, 10_000 * 1_000, 576), None)
    assert long.merge > small.merge


@pytest.mark.parametrize(("run_mode", "without"), [(1, {"outputs"}), (2, {"list", "merge"}), (3, set())])
def test_a_stage_that_a_mode_does_not_have_takes_nothing(run_mode, without):
    found = estimate(10_000, run_mode)
    assert {stage for stage in ("list", "merge", "outputs") if getattr(found, stage) == 0} == without


def test_a_partitioned_search_takes_no_more_for_more_images():
    assert estimate(10**7).search == estimate(10**8).search


def test_the_stage_that_does_not_fit_is_named():
    memory = StageMemory(list=0, merge=PROCESS_BYTES + 100, search=0, outputs=PROCESS_BYTES + 200)
    memory.check_fits(200, 10)
    with pytest.raises(ConfigError, match="outputs"):
        memory.check_fits(199, 10)
    with pytest.raises(ConfigError, match="merge"):
        memory.check_fits(99, 10)


def test_disk_grows_with_the_images():
    config = RunConfig.of(input_dir="x", work_dir="y")
    small, large = (estimate_disk(config, RunSize.of_images(n, 576)) for n in (10**6, 10**8))
    assert large == 100 * small > 100 * 10**6 * 576 * 4


def test_a_run_whose_outputs_do_not_fit_is_refused_before_an_image_is_read(tmp_path, monkeypatch):
    config = RunConfig.of(input_dir=PHOTOS, work_dir=tmp_path / "out", executor="inline")
    outputs = estimate_run(config).memory.outputs - PROCESS_BYTES
    monkeypatch.setattr(InlineExecutor, "max_step_memory", lambda _: outputs - 1)
    with pytest.raises(ConfigError, match="outputs"):
        deduplicate(config)
    assert not (tmp_path / "out" / layout.SHARDS).exists()
