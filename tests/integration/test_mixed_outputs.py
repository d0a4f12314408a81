"""Outputs of two runs in one work_dir, as a writer that came too late would leave them, are not taken for one run."""

import shutil
from pathlib import Path

import pytest

from fastdup_ray import RunResult, make_plan
from fastdup_ray.errors import DamagedError
from tests.helpers.images import save_cloudy
from tests.helpers.runs import run_inline

TABLES = {
    "images.parquet": lambda run: run.images,
    "similarity.parquet": lambda run: run.similarity,
    "components.parquet": lambda run: run.components,
    "exact_copies.csv": lambda run: run.exact_copies,
    "features.bad.csv": lambda run: run.bad,
}
PLANNED = ("images.parquet", "similarity.csv", "features.dat", "features.dat.csv", "config.json")


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> tuple[Path, Path]:
    """The work_dirs of two runs, on the same images and one more."""
    folder = tmp_path_factory.mktemp("runs")
    outs = []
    for count in (4, 30):
        first, *_ = save_cloudy(folder / "images", count)

        (folder / "images" / f"bad{count}.jpg").write_bytes(b"no image")
        shutil.copyfile(first, folder / "images" / f"copy{count}.jpg")
        outs.append(folder / f"out{count}")
        run_inline(folder / "images", outs[-1], threshold=0.5 + count / 100)
    return outs[0], outs[1]


@pytest.fixture
def mix(runs, tmp_path):
    """Make a copy of the second work_dir with a file of the first."""

    def make(name: str) -> Path:
        late, last = runs
        assert (late / name).read_bytes() != (last / name).read_bytes()
        shutil.copytree(last, tmp_path / "out")
        shutil.copyfile(late / name, tmp_path / "out" / name)
        return tmp_path / "out"

    return make


@pytest.mark.parametrize("name", TABLES)
def test_a_result_reads_no_file_of_another_run(mix, name):
    result = RunResult.open(mix(name))
    with pytest.raises(DamagedError, match=name):
        TABLES[name](result)


@pytest.mark.parametrize("name", PLANNED)
def test_no_plan_is_made_of_files_of_two_runs(mix, name):
    with pytest.raises(DamagedError, match=name):
        make_plan(mix(name))


def test_a_file_that_the_run_did_not_write_is_not_there(runs, tmp_path):
    first, _ = runs
    result = run_inline(first.parent / "images", tmp_path / "out", run_cc=0)
    shutil.copyfile(first / "components.parquet", tmp_path / "out/components.parquet")
    with pytest.raises(FileNotFoundError):
        _ = RunResult.open(tmp_path / "out").components
    assert "component_id" not in result.to_arrow().column_names
