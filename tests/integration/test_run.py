"""Whole runs over real pictures: what comes out, that it is always the same, and what bad input leads to."""

import json
import os
import shutil
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

import fastdup_ray as fastdup
from fastdup_ray import RunConfig
from fastdup_ray.common import layout
from fastdup_ray.errors import ConfigError
from tests.checker import check
from tests.helpers.commands import parse_counts
from tests.helpers.images import cloudy, save_cloudy
from tests.helpers.runs import EVERY_FILE, PHOTOS, csv_rows, files_below, outputs, run_inline

COMPONENT_FILES = {"components_info.csv", "connected_components.csv", "components.parquet"}


def pairs_of(work_dir: Path, name: str = "similarity.csv") -> list[tuple[str, str, float]]:
    return [(source, target, float(value)) for source, target, value in csv_rows(work_dir / name)[1:]]


def component_of(work_dir: Path) -> dict[str, int]:
    """The number of the component of each good image."""
    names = [name for _, name in csv_rows(work_dir / "features.dat.csv")[1:]]
    rows = csv_rows(work_dir / "connected_components.csv")[1:]
    return {names[int(row[0])]: int(row[1]) for row in rows}


def summary_of(work_dir: Path) -> dict:
    return json.loads((work_dir / "summary.json").read_text())


# --- the photos -------------------------------------------------------------------------------------------------------


def test_a_run_leaves_every_output_and_nothing_else(finished):
    assert files_below(finished) == EVERY_FILE


def test_the_checker_finds_nothing_wrong(finished, photos):
    assert check(finished, photos) == []


def test_good_and_bad_pictures_are_those_of_the_truth(finished, truth):
    good = [name for _, name in csv_rows(finished / "features.dat.csv")[1:]]
    assert good == sorted((photo.path for photo in truth.values() if photo.code is None), key=os.fsencode)
    bad = {name: code for name, code, _ in csv_rows(finished / "features.bad.csv")[1:]}
    assert bad == {photo.path: photo.code for photo in truth.values() if photo.code}


def test_every_bad_picture_has_one_line_of_reason(finished):
    messages = [message for _, _, message in csv_rows(finished / "features.bad.csv")[1:]]
    assert all(message and "\n" not in message for message in messages)


def test_no_pair_is_of_two_pictures_that_show_different_things(finished, truth):
    assert [pair for pair in pairs_of(finished) if truth[pair[0]].group != truth[pair[1]].group] == []


def test_the_pictures_of_a_group_are_joined_by_pairs(finished, truth):
    joined = defaultdict(set)
    for source, target, _ in pairs_of(finished):
        joined[source].add(target)
        joined[target].add(source)
    members = defaultdict(set)
    far = {photo.path for photo in truth.values() if photo.kind in ("gray", "bright")}  # below the threshold, or above
    for photo in truth.values():
        if photo.code is None and photo.path not in far:
            members[photo.group].add(photo.path)
    for group in members.values():
        reached, waiting = set(), [min(group)]
        while waiting:
            if (name := waiting.pop()) not in reached:
                reached.add(name)
                waiting += joined[name]
        assert reached - far == group


def test_copies_and_mild_edits_are_one_component(finished, truth):
    component = component_of(finished)
    original = {photo.group: photo.path for photo in truth.values() if photo.kind == "original"}
    mild = ("copy", "exif", "resize", "webp", "16bit", "png", "palette", "reencode")
    edits = [photo for photo in truth.values() if photo.kind in mild]
    assert len(edits) >= 10
    assert [edit.path for edit in edits if component[edit.path] != component[original[edit.group]]] == []


def test_components_never_mix_groups(finished, truth):
    groups = defaultdict(set)
    for name, component in component_of(finished).items():
        groups[component].add(truth[name].group)
    assert all(len(names) == 1 for names in groups.values())


def test_exact_copies_have_the_similarity_one_and_stand_first(finished, truth):
    copies = {photo.path for photo in truth.values() if photo.kind == "copy"}
    ones = [pair for pair in pairs_of(finished) if pair[2] == 1]
    assert copies <= {name for pair in ones for name in pair[:2]}
    assert pairs_of(finished)[: len(ones)] == ones


def test_the_summary_counts_what_there_is(finished, truth):
    summary = summary_of(finished)
    bad = sum(photo.code is not None for photo in truth.values())
    copies = sum(photo.kind == "copy" for photo in truth.values())
    counts = summary["counts"]
    assert (counts["entries"], counts["images"], counts["bad"]) == (len(truth), len(truth) - bad, bad)
    assert counts["exact_copies"] == copies
    assert counts["pairs"] == len(pairs_of(finished))
    assert counts["outliers"] == len(pairs_of(finished, "outliers.csv"))
    assert counts["components"] == sum(int(row[1]) > 1 for row in csv_rows(finished / "components_info.csv")[1:])
    why = "exact, and no slower than others for so few images"
    assert summary["neighbors"] == {"index": "Flat", "why": why, "metric": "cosine", "k": 2, "recall": 1.0}
    assert summary["read"] == len(truth)
    assert summary["seconds"].keys() >= {"list", "features", "neighbors", "outputs"}
    assert summary["fingerprint"].keys() == {"model", "decoder", "onnxruntime", "cpu"}


def test_the_manifest_has_an_entry_for_every_file(finished, truth):
    manifest = pq.read_table(finished / "manifest.parquet").to_pylist()
    assert [row["uri"] for row in manifest] == sorted(truth, key=os.fsencode)
    for row in manifest:
        status = os.stat(row["uri"])
        assert (row["size"], row["mtime_or_etag"]) == (status.st_size, str(status.st_mtime_ns))
        assert row["error_code"] == truth[row["uri"]].code
        assert (row["rows"], row["first_row"] is None) == ((0, True) if truth[row["uri"]].code else (1, False))


def test_the_manifest_tells_the_size_of_a_turned_picture_as_it_is_shown(finished):
    rows = {Path(row["uri"]).name: row for row in pq.read_table(finished / "manifest.parquet").to_pylist()}
    turned, upright = rows["IMG_0002.jpg"], rows["dogs.jpg"]
    assert (turned["width"], turned["height"]) == (upright["width"], upright["height"])


def test_the_configuration_is_what_was_asked(finished, photos):
    asked = json.loads((finished / "config.json").read_text())
    assert asked.keys() == RunConfig.model_fields.keys()
    assert (asked["input_dir"], asked["work_dir"], asked["executor"]) == (str(photos), str(finished), "inline")


def test_features_are_loaded_by_name(finished):
    names, features = fastdup.load_binary_feature(finished / "features.dat")
    assert features.shape == (len(names), 576)
    assert np.linalg.norm(features, axis=1) == pytest.approx(1, abs=1e-5)


def test_a_result_reads_its_outputs(finished, photos, tmp_path):
    result = run_inline(photos, tmp_path / "out")
    assert result.counts == summary_of(finished)["counts"]
    assert result.images.num_rows == result.counts["images"]
    assert result.similarity.column_names[:3] == ["from", "to", "distance"]
    assert result.components.num_rows == result.counts["images"]
    assert result.report.name == "index.html"


# --- always the same --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("shard_size", "num_threads"), [(1, 3), (7, 1), (1000, 1), (1000, 3)])
def test_inline_the_shard_size_and_the_threads_change_no_byte(shard_size, num_threads, finished, photos, tmp_path):
    run_inline(photos, tmp_path / "out", shard_size=shard_size, num_threads=num_threads, report=False)
    assert outputs(tmp_path / "out") == outputs(finished)


def run_apart(code: str, **environment: str) -> None:
    """Python code in a process of its own, which is ended where it hangs."""
    words = [sys.executable, "-c", f"import sys; from fastdup_ray import run\n{code}"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=180, env=os.environ | environment)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("asked", "of_its_own"), [("shard_size=7, num_actors=3", False), ("num_threads=1, executor='ray'", True)]
)
def test_ray_leaves_the_bytes_of_inline(asked, of_its_own, finished, photos, tmp_path, ray_session):
    """With three actors on two cores, and with one core, which is enough, in a Ray of its own."""
    work_dir = tmp_path / "out"
    asked = f"{str(photos)!r}, {str(work_dir)!r}, {asked}"
    run_apart(f"sys.exit(run({asked}))", RAY_ADDRESS="local" if of_its_own else ray_session)
    assert outputs(work_dir) == outputs(finished)
    assert files_below(work_dir) == EVERY_FILE
    assert check(work_dir, photos) == []


@pytest.mark.slow
def test_a_ray_that_was_running_goes_on_running(photos, tmp_path, ray_driver):
    import ray

    assert fastdup.run(photos / "phone", work_dir=tmp_path / "out", report=False) == 0
    assert ray.is_initialized()
    assert ray.get(ray.remote(lambda: 7).remote(), timeout=30) == 7


def test_the_order_of_the_inputs_changes_the_order_of_the_rows_and_no_row(finished, photos, tmp_path):
    names, features = fastdup.load_binary_feature(finished)
    run_inline([photos / "web", photos / "phone"], tmp_path / "out", report=False)
    reordered, rows = fastdup.load_binary_feature(tmp_path / "out")
    expected = [name for folder in ("web", "phone") for name in names if Path(name).is_relative_to(photos / folder)]
    assert reordered == expected
    assert rows.tobytes() == features[[names.index(name) for name in reordered]].tobytes()


# --- what was asked ---------------------------------------------------------------------------------------------------


def test_num_images_takes_the_first_of_the_list(finished, photos, tmp_path, truth):
    run_inline(photos, tmp_path / "out", num_images=12)
    manifest = pq.read_table(tmp_path / "out" / "manifest.parquet")["uri"].to_pylist()
    assert manifest == sorted(truth, key=os.fsencode)[:12]
    assert check(tmp_path / "out") == []


@pytest.mark.parametrize("turi", [False, True])
def test_without_components_there_are_no_component_files(photos, tmp_path, turi):
    work_dir = tmp_path / "out"
    run_inline(photos / "phone", work_dir)
    assert files_below(work_dir) >= COMPONENT_FILES
    run_inline(photos / "phone", work_dir, **({"turi_param": "run_cc=0"} if turi else {"run_cc": 0}))
    assert files_below(work_dir) == EVERY_FILE - COMPONENT_FILES
    assert check(work_dir) == []


@pytest.mark.parametrize(("switch", "column"), [("run_pagerank", 2), ("run_degree", 3)])
def test_a_column_that_is_not_asked_for_stays_and_is_empty(photos, tmp_path, switch, column):
    run_inline(photos / "phone", tmp_path / "out", **{switch: 0})
    header, *rows = csv_rows(tmp_path / "out" / "connected_components.csv")
    assert header == ["__id", "component_id", "pagerank", "degree", "count", "min_distance"]
    assert {row[column] for row in rows} == {""}
    assert "" not in {row[5 - column] for row in rows}
    assert check(tmp_path / "out") == []


def test_a_higher_threshold_leaves_fewer_pairs_and_components_as_they_were(finished, photos, tmp_path):
    run_inline(photos, tmp_path / "out", threshold=0.98, report=False)
    assert pairs_of(tmp_path / "out") == [pair for pair in pairs_of(finished) if pair[2] > 0.98]
    name = "connected_components.csv"
    assert (tmp_path / "out" / name).read_bytes() == (finished / name).read_bytes()


def test_no_pair_is_above_one(photos, tmp_path):
    run_inline(photos, tmp_path / "out", threshold=1.0, ccthreshold=1.0)
    assert pairs_of(tmp_path / "out") == []
    component = component_of(tmp_path / "out")
    assert component[str(PHOTOS / "originals/cat.jpg")] == component[str(PHOTOS / "phone/cat (1).jpg")]
    assert check(tmp_path / "out") == []


@pytest.mark.parametrize(
    "parameters",
    [
        {"faiss_mode": "HNSW32"},
        {"nn_provider": "turi"},
        {"nearest_neighbors_k": 50},
        {"nn_provider": "turi", "nnmodel": "ball_tree", "distance": "manhattan"},
        {"nn_provider": "turi", "nnmodel": "lsh", "distance": "squared_euclidean"},
        {"faiss_mode": "auto", "distance": "euclidean", "lower_threshold": 0.6},
        {"faiss_mode": "IVF4,SQ8", "faiss_param": "nprobe=4", "distance": "euclidean"},
    ],
)
def test_another_index_or_k_is_in_order_too(photos, tmp_path, parameters):
    run_inline(photos, tmp_path / "out", **parameters)
    assert check(tmp_path / "out", photos) == []


def test_a_metric_changes_the_column_and_not_the_groups(photos, finished, tmp_path):
    run_inline(photos, tmp_path / "out", distance="euclidean", lower_threshold=0.6)
    rows = csv_rows(tmp_path / "out" / "similarity.csv")[1:]
    values = [float(value) for _, _, value in rows]
    cosines = {(source, target): float(value) for source, target, value in csv_rows(finished / "similarity.csv")[1:]}
    assert values == sorted(values)
    assert {(source, target) for source, target, _ in rows} == set(cosines)
    for source, target, value in rows:
        assert float(value) ** 2 == pytest.approx(2 - 2 * cosines[source, target], abs=1e-5)
    outliers = [float(value) for _, _, value in csv_rows(tmp_path / "out" / "outliers.csv")[1:]]
    assert outliers == sorted(outliers, reverse=True)
    for name in ("connected_components.csv", "components_info.csv", "components.parquet"):
        assert (tmp_path / "out" / name).read_bytes() == (finished / name).read_bytes()


@pytest.mark.parametrize(
    ("parameters", "told"),
    [
        ({"faiss_mode": "IVF4"}, "could not parse"),
        ({"faiss_mode": "IVF256,Flat", "faiss_param": "nprob=3"}, "IVF256,Flat has nprobe"),
        ({"faiss_mode": "SQ8", "distance": "manhattan"}, "Flat or HNSW32"),
    ],
)
def test_a_search_that_cannot_be_is_refused_before_any_work(parameters, told, photos, tmp_path):
    with pytest.raises(ConfigError, match=told):
        run_inline(photos, tmp_path / "out", **parameters)
    assert not (tmp_path / "out").exists()


def test_too_few_pictures_to_learn_from_are_told(photos, tmp_path):
    with pytest.raises(ConfigError, match=r"at least 256 images, .* Use Flat"):
        run_inline(photos, tmp_path / "out", faiss_mode="IVF256,Flat")
    assert not (tmp_path / "out" / "similarity.csv").exists()


def test_many_copies_are_one_component_though_k_is_small(tmp_path):
    folder = tmp_path / "pictures"
    first, _ = save_cloudy(folder, 2)
    for copy in range(8):
        shutil.copyfile(first, folder / f"copy{copy}.jpg")
    run_inline(folder, tmp_path / "out", nearest_neighbors_k=1, report=False)
    component = component_of(tmp_path / "out")
    assert len({component[name] for name in component if name != str(folder / "0001.jpg")}) == 1
    assert summary_of(tmp_path / "out")["counts"]["exact_copies"] == 8


@pytest.mark.parametrize(
    "name", [b"a, b.jpg", b'say "hi".jpg', b"two\nlines.jpg", b"caf\xe9.jpg", "😀.jpg".encode(), b"-x.jpg"]
)
def test_any_name_comes_through_every_file(tmp_path, name):
    folder = tmp_path / "pictures"
    save_cloudy(folder, 3)
    nasty = os.path.join(os.fsencode(folder), name)
    shutil.copyfile(os.fsencode(folder / "0000.jpg"), nasty)
    (folder / os.fsdecode(b"bad" + name)).write_bytes(b"no picture at all")
    run_inline(folder, tmp_path / "out")
    assert os.fsdecode(nasty) in fastdup.load_binary_feature(tmp_path / "out")[0]
    assert [row[0] for row in csv_rows(tmp_path / "out" / "features.bad.csv")[1:]] == [
        str(folder / os.fsdecode(b"bad" + name))
    ]
    assert check(tmp_path / "out", folder) == []


def test_a_list_of_a_run_is_the_input_of_another(finished, photos, tmp_path):
    run_inline(finished / "features.dat.csv", tmp_path / "out", report=False)
    assert (tmp_path / "out" / "features.dat").read_bytes() == (finished / "features.dat").read_bytes()
    assert (tmp_path / "out" / "similarity.csv").read_bytes() == (finished / "similarity.csv").read_bytes()


def test_a_work_dir_inside_the_input_is_not_searched(photos, tmp_path):
    folder = tmp_path / "pictures"
    shutil.copytree(photos / "phone", folder)
    run_inline(folder, folder / "out")
    before = outputs(folder / "out")
    cloudy(0).save(folder / "out" / "report" / "thumbnail.jpg")
    run_inline(folder, folder / "out")
    assert outputs(folder / "out") == before


# --- bad input --------------------------------------------------------------------------------------------------------


def failure(capsys, *args, **parameters) -> str:
    """`run` fails; returns the one line that says why."""
    assert fastdup.run(*args, **{"executor": "inline"} | parameters) == 1
    told = capsys.readouterr()
    assert "Traceback" not in told.err + told.out
    assert told.err.count("\n") == 1
    assert told.err.startswith("fastdup_ray: ")
    return told.err


@pytest.mark.parametrize("executor", ["inline", "ray"])
def test_an_empty_folder_is_told_and_leaves_nothing(tmp_path, capsys, executor):
    (tmp_path / "empty").mkdir()
    line = failure(capsys, tmp_path / "empty", tmp_path / "out", executor=executor)
    assert str(tmp_path / "empty") in line
    assert files_below(tmp_path) == set()


@pytest.mark.parametrize("content", ["", "\n\n", "filename\n"])
def test_an_empty_list_is_told_and_leaves_nothing(tmp_path, capsys, content):
    (tmp_path / "list.csv").write_text(content)
    assert "list.csv" in failure(capsys, tmp_path / "list.csv", tmp_path / "out")
    assert files_below(tmp_path) == {"list.csv"}


def test_a_missing_folder_is_told_and_leaves_nothing(tmp_path, capsys):
    assert "nowhere" in failure(capsys, tmp_path / "nowhere", tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_no_input_at_all_is_told(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert "input_dir" in failure(capsys)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("where", ["file/out", "file/deep/er"])
def test_a_work_dir_below_a_file_is_told(photos, tmp_path, capsys, where):
    (tmp_path / "file").write_text("not a folder")
    assert str(tmp_path / where) in failure(capsys, photos, tmp_path / where)
    assert (tmp_path / "file").read_text() == "not a folder"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_work_dir_without_permission_is_told(photos, tmp_path, capsys):
    (tmp_path / "locked").mkdir(mode=0o500)
    assert "locked" in failure(capsys, photos, tmp_path / "locked" / "out")


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="no file system here that nobody can write to")
def test_a_work_dir_where_nobody_can_write_is_told(photos, capsys):
    assert "/proc/out" in failure(capsys, photos, "/proc/out")


@pytest.mark.parametrize(
    ("parameters", "told"),
    [({"threshold": 2.0}, "threshold: 2.0 "), ({"tresh": 1}, "'tresh'"), ({"faiss_param": "ef=1"}, "faiss_param")],
)
def test_a_wrong_parameter_is_told_and_leaves_nothing(photos, tmp_path, capsys, parameters, told):
    assert told in failure(capsys, photos, tmp_path / "out", **parameters)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("before", [False, True])
def test_pictures_that_are_all_bad_are_told_and_leave_their_list(photos, tmp_path, capsys, before, truth):
    folder, work_dir = tmp_path / "pictures", tmp_path / "out"
    shutil.copytree(photos / "broken", folder)
    if before:  # an earlier run, whose outputs have to go
        shutil.copyfile(photos / "originals" / "cat.jpg", folder / "cat.jpg")
        run_inline(folder, work_dir)
        (folder / "cat.jpg").unlink()
    line = failure(capsys, folder, work_dir)
    for name, _, reason in csv_rows(work_dir / "features.bad.csv")[1:]:
        assert f"{name}: {reason}" in line
    unlisted = {name for name in files_below(work_dir) if name.startswith(f"{layout.UNLISTED}/")}
    assert bool(unlisted) == before
    assert files_below(work_dir) - unlisted == {
        *("features.dat", "features.dat.csv", "features.bad.csv", "features.dat.bad"),
        *("manifest.parquet", "config.json", "summary.json"),
    }
    assert (work_dir / "features.dat").read_bytes() == b""
    assert (work_dir / "features.dat.csv").read_text() == "index,filename\n"
    bad = {Path(name).name: code for name, code, _ in csv_rows(work_dir / "features.bad.csv")[1:]}
    assert bad == {Path(photo.path).name: photo.code for photo in truth.values() if photo.code}
    names, features = fastdup.load_binary_feature(work_dir)
    assert (names, len(features)) == ([], 0)


@pytest.mark.parametrize("mode", ["Flat", "HNSW32"])
def test_one_picture_is_no_failure_and_has_empty_lists(photos, tmp_path, capsys, mode):
    work_dir = tmp_path / "out"
    picture = photos / "originals" / "cat.jpg"
    assert fastdup.run(picture, work_dir, executor="inline", faiss_mode=mode) == 0
    assert parse_counts(capsys.readouterr().out) == [1, 1, 0]
    assert files_below(work_dir) == EVERY_FILE
    assert (work_dir / "similarity.csv").read_text() == "from,to,distance\n"
    assert (work_dir / "outliers.csv").read_text() == "from,to,distance\n"
    assert (work_dir / "features.bad.csv").read_text() == "filename,error_code,message\n"
    assert csv_rows(work_dir / "components_info.csv")[1:] == [["0", "1", "", "", ""]]
    assert csv_rows(work_dir / "connected_components.csv")[1:] == [["0", "0", "1.000000", "0", "1", ""]]
    assert check(work_dir) == []


def test_the_reasons_of_few_unreadable_files_are_told_and_of_many_the_file(tmp_path, capsys):
    folder, work_dir = tmp_path / "in", tmp_path / "out"
    save_cloudy(folder, 1)
    for bad in (9, 10):
        for n in range(bad):
            (folder / f"bad\n{n}.jpg").touch()
        assert fastdup.run(folder, work_dir, executor="inline", report=False) == 0
        told = capsys.readouterr().out
        assert told.count("the file is empty") == (bad if bad == 9 else 0)
        assert rf"{folder}/bad\n0.jpg: " in told or bad == 10
    (folder / "0000.jpg").unlink()
    assert "features.bad.csv" in failure(capsys, folder, work_dir)


def test_a_run_prints_the_number_of_good_and_bad_images(photos, tmp_path, capsys, truth):
    assert fastdup.run(photos, tmp_path / "out", executor="inline", report=False) == 0
    told = capsys.readouterr()
    bad = sum(photo.code is not None for photo in truth.values())
    assert parse_counts(told.out) == [len(truth), len(truth) - bad, bad]
    assert told.err == ""


def test_version_is_printed_and_nothing_is_written(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert fastdup.run(version=True) == 0
    assert capsys.readouterr().out == f"{fastdup.__version__}\n"
    assert list(tmp_path.iterdir()) == []


def test_missing_and_vanished_pictures_of_a_list_are_bad(photos, tmp_path):
    good: Path = photos / "originals" / "cat.jpg"
    (tmp_path / "list").write_text(f"{good}\n{tmp_path}/gone.jpg\n{tmp_path}\n")
    run_inline(tmp_path / "list", tmp_path / "out", report=False)
    assert [row[:2] for row in csv_rows(tmp_path / "out" / "features.bad.csv")[1:]] == [
        [f"{tmp_path}/gone.jpg", "MISSING"],
        [str(tmp_path), "NOT_AN_IMAGE"],
    ]


def test_max_pixels_makes_larger_pictures_bad(photos, tmp_path):
    run_inline(photos / "web", tmp_path / "out", max_pixels=100_000)
    entries = pq.read_table(tmp_path / "out" / "manifest.parquet").to_pylist()
    assert {entry["error_code"] for entry in entries} == {None, "TOO_LARGE"}
    assert all((entry["error_code"] is None) == (entry["width"] * entry["height"] <= 100_000) for entry in entries)


# --- again ------------------------------------------------------------------------------------------------------------


def test_the_same_run_again_reads_nothing_and_leaves_the_same_bytes(photos, tmp_path):
    first = run_inline(photos, tmp_path / "out", report=False)
    before = outputs(tmp_path / "out")
    again = run_inline(photos, tmp_path / "out", report=False)
    assert (first.summary["read"], again.summary["read"]) == (38, 0)
    assert outputs(tmp_path / "out") == before


def test_results_of_other_pictures_are_only_replaced_when_asked(photos, tmp_path, capsys):
    work_dir = tmp_path / "out"
    run_inline(photos / "phone", work_dir, report=False)
    before = outputs(work_dir)
    line = failure(capsys, photos / "web", work_dir)
    assert "overwrite" in line
    assert str(work_dir) in line
    assert outputs(work_dir) == before
    assert fastdup.run(photos / "web", work_dir, executor="inline", overwrite=True) == 0
    assert check(work_dir) == []
