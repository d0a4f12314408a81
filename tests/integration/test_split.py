"""`split` and `subset` on a finished run."""

import csv
import os
from pathlib import Path

import pytest

import fastdup_ray as fastdup
from fastdup_ray.errors import InputError, WorkDirError
from tests.helpers.runs import PHOTOS, run_inline


@pytest.fixture(scope="module")
def work_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("split") / "out"
    run_inline(PHOTOS, made, labels="folder", report=False)
    return made


def read_split(path: str) -> dict[str, str]:
    with open(path, encoding="utf-8", newline="") as file:
        return {row["filename"]: row["split"] for row in csv.DictReader(file)}


def test_duplicates_are_in_one_part(work_dir):
    made = fastdup.split_dataset(work_dir, parts="train=0.5,test=0.5")
    part, run = read_split(made.path), fastdup.RunResult.open(work_dir)
    assert made.path == str(work_dir / "split.csv")
    assert list(part) == run.images["filename"].to_pylist()
    assert made.counts == {name: list(part.values()).count(name) for name in ("train", "test")}
    assert min(made.counts.values()) >= 10
    duplicates = run.duplicates.to_pylist()
    assert duplicates
    assert all(part[row["filename"]] == part[row["keeper"]] for row in duplicates)
    assert made.groups == len(run.groups)


def test_a_seed_gives_the_same_split_again(work_dir, tmp_path):
    files = [tmp_path / name for name in ("a.csv", "b.csv", "c.csv")]
    for seed, file in zip((1, 1, 2), files, strict=True):
        fastdup.split_dataset(work_dir, file, seed=seed)
    first, again, other = (file.read_bytes() for file in files)
    assert first == again != other


def test_a_subset_is_a_list_for_another_run(work_dir, tmp_path):
    made = fastdup.select_subset(work_dir, 6, tmp_path / "few.txt")
    names = (tmp_path / "few.txt").read_text(encoding="utf-8").splitlines()
    assert made.count == len(set(names)) == 6
    assert all(map(os.path.exists, names))
    assert 0 < made.reach < 1
    again = run_inline(tmp_path / "few.txt", tmp_path / "few", report=False)
    assert again.counts["images"] == 6
    assert again.counts["duplicates"] == 0


def test_no_file_of_the_users_is_replaced(work_dir, tmp_path):
    mine = tmp_path / "mine.csv"
    mine.write_text("mine")
    for write in (
        lambda: fastdup.split_dataset(work_dir, mine),
        lambda: fastdup.select_subset(work_dir, 3, mine),
    ):
        with pytest.raises(WorkDirError):
            write()
    assert mine.read_text() == "mine"
    with pytest.raises(InputError):
        fastdup.split_dataset(tmp_path / "none")
