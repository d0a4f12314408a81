"""Reuse, ranges, damage, locks and disks that fill up: nothing is lost, nothing is read twice."""

import os
import shutil
import signal
import stat
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest

import fastdup_ray as fastdup
from fastdup_ray.common import layout
from fastdup_ray.errors import ConfigError, DamagedError, InputError, LockedError, WorkDirError
from fastdup_ray.storage import open_store
from tests.helpers.commands import assert_same_files, run, start, summary_of
from tests.helpers.damage import damage
from tests.helpers.images import save_cloudy
from tests.helpers.kills import dying_before
from tests.helpers.runs import PHOTOS, SAME_BYTES, files_below, run_inline

dedupe = partial(run_inline, report=False)


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    work_dir = tmp_path_factory.mktemp("reference") / "out"
    dedupe(PHOTOS, work_dir)
    return work_dir


@pytest.fixture
def finished(reference, tmp_path):
    return Path(shutil.copytree(reference, tmp_path / "out"))


@pytest.fixture
def photos(tmp_path):
    return Path(shutil.copytree(PHOTOS, tmp_path / "photos"))


# Reuse


def test_the_same_call_again_reads_nothing_and_leaves_the_same(finished, reference):
    assert dedupe(PHOTOS, finished).summary["read"] == 0
    assert_same_files(finished, reference)


@pytest.mark.parametrize("change", [{"nearest_neighbors_k": 5}, {"threshold": 0.5}, {"ccthreshold": 0.9}])
def test_other_thresholds_read_nothing_and_leave_what_a_fresh_run_leaves(finished, tmp_path, change):
    assert dedupe(PHOTOS, finished, **change).summary["read"] == 0
    dedupe(PHOTOS, tmp_path / "fresh", **change)
    assert_same_files(finished, tmp_path / "fresh")


def test_only_new_and_changed_pictures_are_read_and_deleted_ones_are_gone(photos, tmp_path):
    dedupe(photos, tmp_path / "out")
    shutil.copy2(photos / "originals/dogs.jpg", photos / "a new one.jpg")
    os.utime(photos / "originals/cat.jpg", (1, 1))
    (photos / "originals/meadow.jpg").unlink()
    assert dedupe(photos, tmp_path / "out").summary["read"] == 2
    dedupe(photos, tmp_path / "fresh")
    assert_same_files(tmp_path / "out", tmp_path / "fresh")


def test_without_reuse_everything_is_read(finished):
    assert dedupe(PHOTOS, finished, reuse=False).summary["read"] == 38


def test_pictures_that_were_too_large_are_read_again_when_more_is_allowed(tmp_path):
    dedupe(PHOTOS, tmp_path / "out", max_pixels=100_000)
    too_large = (tmp_path / "out/features.bad.csv").read_text().count(",TOO_LARGE,")
    assert 0 < too_large < 38
    assert dedupe(PHOTOS, tmp_path / "out").summary["read"] == too_large
    dedupe(PHOTOS, tmp_path / "fresh")
    assert_same_files(tmp_path / "out", tmp_path / "fresh")


def test_another_model_reuses_nothing(finished):
    from fastdup_ray.storage.checked_json import read_json, write_json

    store = open_store(str(finished))
    summary = read_json(store, layout.SUMMARY)
    summary["fingerprint"]["model"] = "another"
    write_json(store, layout.SUMMARY, summary)
    assert dedupe(PHOTOS, finished).summary["read"] == 38


def test_other_pictures_are_refused_unless_they_are_to_replace(finished, photos):
    with pytest.raises(WorkDirError, match="overwrite"):
        dedupe(photos, finished)
    assert dedupe(photos, finished, overwrite=True).counts["images"] == 33


# Modes 1 and 2


def test_mode_1_and_then_2_leave_the_files_of_mode_0(tmp_path, reference):
    dedupe(PHOTOS, tmp_path / "out", run_mode=1)
    lists = {"features.dat.csv", "features.bad.csv", "features.dat.bad"}
    assert files_below(tmp_path / "out") == {"features.dat", "manifest.parquet", "config.json", "summary.json", *lists}
    assert dedupe(None, tmp_path / "out", run_mode=2).summary["read"] == 0
    assert_same_files(tmp_path / "out", reference)


def test_three_ranges_by_three_processes_at_once_and_then_mode_2_leave_the_files_of_mode_0(tmp_path, reference):
    out = tmp_path / "out"
    common = (PHOTOS, "--work-dir", out, "--executor", "inline", "--run-mode", 1)
    bounds = [("--max-offset", 10), ("--min-offset", 10, "--max-offset", 25), ("--min-offset", 25)]
    processes = [start(*common, *bound) for bound in bounds]
    for process in processes:
        _, err = process.communicate(timeout=120)
        assert process.returncode == 0, err
        assert err == ""
    suffixes = (".bad.csv", ".dat", ".dat.csv", ".json")
    stems = [layout.format_range_stem(*bound) for bound in ((0, 10), (10, 25), (25, 38))]
    assert sorted(os.listdir(out)) == [stem + suffix for stem in stems for suffix in suffixes]
    dedupe(None, out, run_mode=2)
    assert_same_files(out, reference)


@pytest.mark.parametrize(
    ("ranges", "problem"),
    [
        ([(0, 10), (20, 38)], "gap.* 10 to 20 "),
        ([(0, 10), (10, 30)], "gap.* 30 to 38 "),
        ([(5, 38)], "gap.* 0 to 5 "),
        ([(0, 20), (15, 38)], "overlap.* 15 to 20 "),
    ],
)
def test_gaps_and_overlaps_of_ranges_are_named(tmp_path, ranges, problem):
    for low, high in ranges:
        dedupe(PHOTOS, tmp_path / "out", run_mode=1, min_offset=low, max_offset=high)
    with pytest.raises(InputError, match=problem):
        dedupe(None, tmp_path / "out", run_mode=2)


def test_a_range_of_another_list_is_named(tmp_path, photos):
    dedupe(PHOTOS, tmp_path / "out", run_mode=1, max_offset=10)
    dedupe(photos, tmp_path / "out", run_mode=1, min_offset=10)
    with pytest.raises(InputError, match=r"features-000000000010-000000000038 is of another list"):
        dedupe(None, tmp_path / "out", run_mode=2)


def test_a_range_without_a_good_picture_is_no_failure(tmp_path):
    result = dedupe(PHOTOS, tmp_path / "out", run_mode=1, min_offset=0, max_offset=5)
    assert result.counts == {"entries": 5, "images": 0, "bad": 5}


@pytest.mark.parametrize("offsets", [{"min_offset": 38}, {"max_offset": 39}, {"max_offset": 0}])
def test_offsets_outside_of_the_list_are_refused(tmp_path, offsets):
    with pytest.raises(ConfigError, match=next(iter(offsets))):
        dedupe(PHOTOS, tmp_path / "out", run_mode=1, **offsets)
    assert not (tmp_path / "out").exists()


def test_mode_0_with_offsets_is_a_run_on_that_part_of_the_list(tmp_path):
    names = fastdup.load_binary_feature(dedupe(PHOTOS, tmp_path / "a").work_dir)[0]
    dedupe(PHOTOS, tmp_path / "b", min_offset=5, max_offset=12)
    assert fastdup.load_binary_feature(tmp_path / "b")[0] == names[:7]


@pytest.fixture
def own(tmp_path):
    """A folder with features of one's own, two of them alike."""
    rows = np.random.default_rng(0).normal(size=(50, 33))
    rows[7] = 3 * rows[3]
    fastdup.save_binary_feature(tmp_path / "own", [f"picture {i}, of mine" for i in range(50)], rows)
    return tmp_path / "own"


@pytest.mark.parametrize("name", ["", "features.dat"])
def test_mode_2_takes_features_of_ones_own_of_any_width_again_and_again(own, name):
    for _ in range(2):
        result = dedupe(None, own / name, run_mode=2, report=True)
        closest = {"from": "picture 3, of mine", "to": "picture 7, of mine", "distance": 1.0}
        assert result.similarity.to_pylist()[0] == closest


@pytest.mark.parametrize("name", ["features.dat", "features.dat.csv"])
def test_damaged_features_of_ones_own_are_named(own, name):
    dedupe(None, own, run_mode=2)
    damage(own / name, "flip")
    with pytest.raises(DamagedError, match=name):
        dedupe(None, own, run_mode=2)


def test_features_of_ones_own_are_not_replaced_unless_they_are_to_be(own):
    with pytest.raises(WorkDirError, match="of your own"):
        dedupe(PHOTOS, own)
    assert dedupe(PHOTOS, own, overwrite=True).counts["images"] == 33


def test_mode_2_without_features_says_so(tmp_path, capsys):
    assert fastdup.run(work_dir=str(tmp_path / "none"), run_mode=2, executor="inline") == 1
    assert "features.dat" in capsys.readouterr().err
    assert not (tmp_path / "none").exists()


# Damage


@pytest.mark.parametrize("how", ["cut", "flip"])
@pytest.mark.parametrize("name", [*SAME_BYTES, "config.json", "summary.json"])
def test_no_damaged_file_changes_what_the_next_run_leaves(finished, reference, name, how):
    damage(finished / name, how)
    dedupe(PHOTOS, finished)
    assert_same_files(finished, reference)


@pytest.mark.parametrize("how", ["cut", "flip"])
@pytest.mark.parametrize("name", ["features.dat", "features.dat.csv", "manifest.parquet", "summary.json"])
def test_mode_2_names_the_damaged_file(finished, name, how):
    damage(finished / name, how)
    with pytest.raises(DamagedError, match=name):
        dedupe(None, finished, run_mode=2)


@pytest.mark.parametrize("how", ["cut", "flip"])
@pytest.mark.parametrize("suffix", [".dat", ".dat.csv", ".bad.csv", ".json"])
def test_a_damaged_range_is_named_by_mode_2_and_made_again_by_mode_1(tmp_path, reference, suffix, how):
    out, stem = tmp_path / "out", layout.format_range_stem(0, 20)
    for low, high in ((0, 20), (20, 38)):
        dedupe(PHOTOS, out, run_mode=1, min_offset=low, max_offset=high)
    damage(out / (stem + suffix), how)
    with pytest.raises(DamagedError, match=stem):
        dedupe(None, out, run_mode=2)
    assert dedupe(PHOTOS, out, run_mode=1, min_offset=0, max_offset=20).summary["read"] == 20
    dedupe(None, out, run_mode=2)
    assert_same_files(out, reference)


@pytest.mark.parametrize("how", ["cut", "flip"])
def test_a_damaged_shard_of_a_run_that_died_is_read_again_and_only_that(tmp_path, reference, how):
    out = tmp_path / "out"
    died = run(
        PHOTOS, "--work-dir", out, "--executor", "inline", "--shard-size", 8, PYTHONPATH=dying_before(tmp_path, "merge")
    )
    assert died.returncode == -signal.SIGKILL
    shards = sorted((out / "shards").glob("features-*.shard"))
    assert len(shards) == 5
    damage(shards[1], how)
    assert dedupe(PHOTOS, out, shard_size=8).summary["read"] == 8
    assert_same_files(out, reference)


# Dying at each place


PUT_IN_ORDER = [
    "shards/manifest.parquet",
    "shards/merged.json",
    "out/features.dat",
    "out/manifest.parquet",
    "out/features.dat.csv",
    "out/features.dat.bad",
    "out/faiss.index",
    "00000000.pairs",
    "00000000.verified",
    "out/verified_pairs.parquet",
    "out/verified_pairs.csv",
    "out/similarity.csv",
    "out/config.json",
    "out/summary.json",
]


@pytest.mark.slow
@pytest.mark.parametrize("name", PUT_IN_ORDER)
def test_a_run_that_dies_before_any_of_its_files_loses_no_picture(tmp_path, photos, name):
    """Also where the run replaces the features that it reuses: of a first run with fewer pictures."""
    out = tmp_path / "out"
    dedupe(sorted(map(str, photos.rglob("*.jpg"))), out)
    n = sum(path.is_file() for path in photos.rglob("*"))
    before = summary_of(out)["counts"]["entries"]
    died = run(
        photos, "--work-dir", out, "--executor", "inline", "--no-report", PYTHONPATH=dying_before(tmp_path, name)
    )
    assert died.returncode == -signal.SIGKILL, died.stderr
    assert before < n
    assert dedupe(photos, out).summary["read"] == 0
    dedupe(photos, tmp_path / "fresh")
    assert_same_files(out, tmp_path / "fresh")
    assert not [name for name in files_below(out) if ".tmp-" in name or name.startswith("shards")]


# Locks


def holding(work_dir: Path, name: str = layout.LOCK) -> subprocess.Popen:
    code = (
        "import sys, time\nfrom fastdup_ray.storage import open_store\n"
        f"with open_store({str(work_dir)!r}).lock({name!r}):\n    print('held', flush=True)\n    time.sleep(60)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    return process


def test_a_second_run_is_told_who_writes_and_a_dead_owners_lock_is_taken_over(finished):
    with holding(finished) as owner:
        with pytest.raises(LockedError, match=f"process {owner.pid}"):
            dedupe(PHOTOS, finished)
        assert run(PHOTOS, "--work-dir", finished, "--executor", "inline").returncode == 3
        owner.kill()
        owner.wait()
        assert dedupe(PHOTOS, finished).summary["read"] == 0
    assert not [name for name in files_below(finished) if name.endswith("lock")]


def test_a_range_locks_out_the_same_range_and_whole_runs_but_no_other_range(tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    with open_store(str(out)).lock(layout.LOCK, shared=True):
        with holding(out, f".{layout.format_range_stem(0, 10)}.lock") as owner:
            with pytest.raises(LockedError):
                dedupe(PHOTOS, out, run_mode=1, max_offset=10)
            assert dedupe(PHOTOS, out, run_mode=1, min_offset=10).counts["images"] == 28
            owner.kill()
        with pytest.raises(LockedError, match=f"process {os.getpid()}"):
            dedupe(PHOTOS, out)


# Disks and interruptions


@pytest.mark.parametrize(
    ("room", "flag"),
    [
        *((room, "--no-report") for room in (0, 40_000, 150_000, 230_000)),  # while shards are made, merged, searched
        (500_000, "--report"),  # in the report
    ],
)
def test_a_disk_that_fills_up_is_one_line_and_the_run_goes_on_from_there(small_disk, reference, room, flag):
    out = small_disk / "out"
    filler = small_disk / "filler"
    filler.write_bytes(bytes(2 * 1024 * 1024 - 32_768 - room))
    failed = run(PHOTOS, "--work-dir", out, "--executor", "inline", "--shard-size", 16, flag)
    assert failed.returncode == 1
    assert failed.stderr.count("\n") == 1
    assert "No space left" in failed.stderr
    assert not [name for name in files_below(small_disk) if ".tmp-" in name]
    filler.unlink()
    dedupe(PHOTOS, out, shard_size=16)
    assert_same_files(out, reference)


def test_a_disk_that_turns_read_only_is_one_line(small_disk, tmp_path):
    pictures, read_only = tmp_path / "many", tmp_path / "read only"
    save_cloudy(pictures, 300, size=(320, 240))
    read_only.mkdir()
    subprocess.run(["mount", "--bind", small_disk, read_only], check=True)
    subprocess.run(["mount", "-o", "remount,bind,ro", read_only], check=True)
    process = start(pictures, "--work-dir", small_disk / "out", "--executor", "inline", "--shard-size", 16)
    while not (small_disk / "out/shards").exists():
        time.sleep(0.01)
    subprocess.run(["mount", "--bind", read_only, small_disk], check=True)
    _, err = process.communicate(timeout=120)
    for mounted in (small_disk, read_only):
        subprocess.run(["umount", "-l", mounted], check=True)
    assert process.returncode == 1
    assert err.count("\n") == 1
    assert "Read-only file system" in err


def test_ctrl_c_ends_with_130_and_says_how_to_go_on(tmp_path):
    pictures = tmp_path / "many"
    save_cloudy(pictures, 400, size=(320, 240))
    out = tmp_path / "out"
    process = start(pictures, "--work-dir", out, "--executor", "inline", "--shard-size", 16)
    while len(list(out.glob("shards/features-*.shard"))) < 3:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Run the same command to resume" in err
    assert "Traceback" not in err
    done = 16 * len(list(out.glob("shards/features-*.shard")))
    assert not [name for name in files_below(out) if ".tmp-" in name]
    assert dedupe(pictures, out).summary["read"] == 400 - done


def test_files_that_vanish_or_change_after_the_listing_are_bad_and_the_run_goes_on(photos, tmp_path, monkeypatch):
    import fastdup_ray.runs.input_list as input_list

    listed = input_list.list_manifest

    def list_and_then_change(*args):
        manifest = listed(*args)
        (photos / "originals/cat.jpg").unlink()
        (photos / "originals/dogs.jpg").write_bytes((PHOTOS / "originals/figs.jpg").read_bytes())
        return manifest

    monkeypatch.setattr(input_list, "list_manifest", list_and_then_change)
    dedupe(photos, tmp_path / "out")
    bad = (tmp_path / "out/features.bad.csv").read_text()
    assert "cat.jpg,MISSING," in bad
    assert "dogs.jpg,CHANGED," in bad


def test_a_run_writes_through_links_and_names_what_is_in_its_way(tmp_path):
    save_cloudy(tmp_path / "in", 2)
    run_inline(tmp_path / "in", tmp_path / "out")
    before = (tmp_path / "out/similarity.csv").read_bytes()
    (tmp_path / "out/similarity.csv").rename(tmp_path / "elsewhere.csv")
    (tmp_path / "out/similarity.csv").symlink_to(tmp_path / "elsewhere.csv")
    (tmp_path / "elsewhere.csv").write_text("of another run")
    run_inline(tmp_path / "in", tmp_path / "out")
    assert (tmp_path / "out/similarity.csv").is_symlink()
    assert (tmp_path / "elsewhere.csv").read_bytes() == before
    (tmp_path / "out/outliers.csv").unlink()
    os.mkfifo(tmp_path / "out/outliers.csv")
    with pytest.raises(WorkDirError, match=r"outliers\.csv"):
        run_inline(tmp_path / "in", tmp_path / "out")
    assert stat.S_ISFIFO((tmp_path / "out/outliers.csv").lstat().st_mode)
