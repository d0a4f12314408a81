"""Run modes 3 and 4, leakage and labels, on the photos: new pictures against a set that is indexed."""

import csv
import json
import os
import random
import re
import shutil
import signal
import time
from functools import partial
from pathlib import Path

import faiss
import numpy as np
import pyarrow.parquet as pq
import pytest

import fastdup_ray as fastdup
from fastdup_ray.common import layout
from fastdup_ray.errors import ConfigError, DamagedError, FastdupError, InputError, LockedError, WorkDirError
from fastdup_ray.inputs.labels import read_labels
from fastdup_ray.runs import input_list, preflight
from fastdup_ray.storage import open_store
from fastdup_ray.storage.checked_json import read_json, write_json
from fastdup_ray.storage.tables import encode_names
from tests.checker import check
from tests.helpers.commands import call, run, start, summary_of
from tests.helpers.damage import damage
from tests.helpers.embeddings import unit_rows
from tests.helpers.images import save_cloudy
from tests.helpers.kills import dying_before
from tests.helpers.runs import EVERY_FILE, PHOTOS, csv_rows, files_below, outputs, run_inline

ORIGINALS, WEB, PHONE = PHOTOS / "originals", PHOTOS / "web", PHOTOS / "phone"
GREY = str(WEB / "figs-gray.jpg")
"""Of all edits in WEB the only one whose cosine to its original (0.82) is not above the default threshold."""

OF_SCORING = {
    *("test_features.dat", "test_features.dat.csv", "test_features.bad.csv", "test_features.dat.bad"),
    *(
        "test_manifest.parquet",
        "test_images.parquet",
        "test_outliers.csv",
        "test_exact_copies.csv",
        "test_config.json",
        "test_summary.json",
    ),
    *("test_report/index.html", "train_similarity.csv", "train_similarity.parquet"),
}
TAKEN = {"similarity.csv": "train_similarity.csv", "similarity.parquet": "train_similarity.parquet"}
NEEDED = ("faiss.index", "features.dat", "features.dat.csv", "manifest.parquet", "summary.json")
SAME = (
    *("test_features.dat", "test_features.dat.csv", "test_features.bad.csv", "test_manifest.parquet"),
    *("test_images.parquet", "test_outliers.csv", "similarity.csv", "similarity.parquet"),
)
"""What depends on the pictures and the question alone."""

dedupe = partial(run_inline, report=False)
score = partial(run_inline, report=False, run_mode=3)


@pytest.fixture(scope="module")
def reference(tmp_path_factory) -> Path:
    """A finished run on the originals."""
    work_dir = tmp_path_factory.mktemp("indexed") / "out"
    run_inline(ORIGINALS, work_dir)
    return work_dir


@pytest.fixture
def indexed(reference, tmp_path) -> Path:
    return Path(shutil.copytree(reference, tmp_path / "out"))


@pytest.fixture(scope="module")
def scored(reference, tmp_path_factory) -> Path:
    """The same, and the pictures of web scored against it."""
    work_dir = Path(shutil.copytree(reference, tmp_path_factory.mktemp("scored") / "out"))
    run_inline(WEB, work_dir, run_mode=3)
    return work_dir


@pytest.fixture(scope="module")
def group_of(truth) -> dict[str, str]:
    return {path: photo.group for path, photo in truth.items()}


def content(work_dir: Path) -> dict[str, bytes]:
    return {name: (work_dir / name).read_bytes() for name in files_below(work_dir)}


def of_indexed(work_dir: Path) -> dict[str, bytes]:
    """The files of the indexed set, by the names that they have in a work_dir that nothing was scored in."""
    there = content(work_dir)
    kept = {name: there.pop(taken) for name, taken in TAKEN.items() if taken in there}
    return {name: data for name, data in there.items() if name not in OF_SCORING | {"leakage.csv"}} | kept


def same(work_dir: Path) -> dict[str, bytes]:
    return {name: (work_dir / name).read_bytes() for name in SAME}


def pairs_of(work_dir: Path, name: str = "similarity.csv") -> list[tuple[str, str, float]]:
    return [(a, b, float(value)) for a, b, value in csv_rows(work_dir / name)[1:]]


# --- new pictures -----------------------------------------------------------------------------------------------------


def test_a_scoring_leaves_its_files_and_those_of_the_indexed_set_as_they_were(reference, scored):
    assert files_below(scored) == EVERY_FILE | OF_SCORING
    assert of_indexed(scored) == content(reference)
    assert check(scored) == []


def test_new_pictures_find_the_indexed_ones_that_show_the_same(scored, group_of):
    pairs = pairs_of(scored)
    assert {source for source, _, _ in pairs} == {str(path) for path in WEB.rglob("*.*") if path.is_file()} - {GREY}
    assert all(Path(target).parent == ORIGINALS for _, target, _ in pairs)
    assert all(group_of[source] == group_of[target] for source, target, _ in pairs)
    assert summary_of_scoring(scored)["counts"] == {
        **{"entries": 11, "images": 11, "bad": 0, "indexed": 16},
        **{"pairs": 10, "distinct_pairs": 10, "outliers": 0},
        **{"exact_copies": 2, "same_bytes": 2, "same_pixels": 0, "near_copies": 8},
    }


def summary_of_scoring(work_dir: Path) -> dict:
    return json.loads((work_dir / "test_summary.json").read_text())


def test_features_of_new_pictures_are_those_that_any_run_makes(scored, tmp_path):
    dedupe(WEB, tmp_path / "web", run_mode=1)
    for name in ("features.dat", "features.dat.csv", "features.bad.csv", "features.dat.bad", "manifest.parquet"):
        assert (scored / f"test_{name}").read_bytes() == (tmp_path / "web" / name).read_bytes()


def test_no_neighbour_is_dropped_as_itself_and_each_has_k(indexed):
    result = score(ORIGINALS, indexed, nearest_neighbors_k=3, threshold=0.0)
    pairs = pairs_of(indexed)
    assert sum(source == target and value == 1 for source, target, value in pairs) == 16
    assert result.summary["read"] == 0  # the rows of the indexed pictures are taken over
    assert check(indexed) == []


@pytest.mark.parametrize("parameters", [{"nearest_neighbors_k": 50}, {"faiss_param": "efSearch=100"}])
def test_an_hnsw_index_is_scored_against_too(tmp_path, parameters):
    dedupe(ORIGINALS, tmp_path / "out", faiss_mode="HNSW32")
    score(WEB, tmp_path / "out", **parameters)
    assert summary_of_scoring(tmp_path / "out")["neighbors"]["index"] == "HNSW32"
    assert check(tmp_path / "out") == []


@pytest.mark.parametrize(
    "index",
    [{}, {"faiss_mode": "HNSW32"}, {"nn_provider": "turi", "nnmodel": "ball_tree"}, {"distance": "cosine"}],
)
@pytest.mark.parametrize("distance", ["euclidean", "squared_euclidean", "manhattan"])
def test_new_pictures_are_scored_by_any_metric_also_another_than_the_indexs(tmp_path, scored, index, distance):
    dedupe(ORIGINALS, tmp_path / "out", **{"distance": distance} | index)
    score(WEB, tmp_path / "out", **index | {"distance": distance})
    assert check(tmp_path / "out") == []
    assert sorted(pair[:2] for pair in pairs_of(tmp_path / "out")) == sorted(pair[:2] for pair in pairs_of(scored))
    values = [value for _, _, value in pairs_of(tmp_path / "out")]
    assert values == sorted(values)
    page = Path(fastdup.create_duplicates_gallery(work_dir=tmp_path / "out", save_path=tmp_path)).read_text()
    assert f"{distance.replace('_', ' ')} distance".capitalize() in page


def test_an_index_of_inverted_lists_is_scored_against_too(tmp_path, scored):
    dedupe(ORIGINALS, tmp_path / "out", faiss_mode="IVF4,Flat", faiss_param="nprobe=4")
    score(WEB, tmp_path / "out", faiss_param="nprobe=4")
    assert pairs_of(tmp_path / "out") == pairs_of(scored)
    assert check(tmp_path / "out") == []


def test_an_index_of_turi_is_scored_against_too(tmp_path, scored):
    dedupe(ORIGINALS, tmp_path / "out", nn_provider="turi")
    score(WEB, tmp_path / "out", nn_provider="turi")
    assert same(tmp_path / "out") == same(scored)


def test_bad_new_pictures_are_listed_and_outliers_are_those_far_from_every_indexed_one(indexed, truth):
    score(PHOTOS, indexed, lower_threshold=0.99)
    bad = [name for name, _, _ in csv_rows(indexed / "test_features.bad.csv")[1:]]
    assert sorted(bad) == sorted(photo.path for photo in truth.values() if photo.code)
    closest = {name: 0.0 for _, name in csv_rows(indexed / "test_features.dat.csv")[1:]}
    score(PHOTOS, indexed, threshold=0, nearest_neighbors_k=1)
    closest |= {source: value for source, _, value in pairs_of(indexed)}
    score(PHOTOS, indexed, lower_threshold=0.99)
    assert {source for source, _, _ in pairs_of(indexed, "test_outliers.csv")} == {
        name for name, value in closest.items() if value < 0.99
    }
    assert check(indexed) == []


def test_a_second_scoring_reads_nothing_again_and_keeps_what_was_kept(reference, indexed, scored):
    first = score(PHOTOS, indexed, threshold=0.5)
    second = score(WEB, indexed)
    assert (first.summary["read"], second.summary["read"]) == (38 - 16, 0)
    assert same(indexed) == same(scored)
    assert of_indexed(indexed) == content(reference)
    assert check(indexed) == []


def test_a_plain_run_afterwards_restores_the_work_dir_and_takes_the_scoring_away(reference, scored, tmp_path):
    work_dir = Path(shutil.copytree(scored, tmp_path / "out"))
    assert run_inline(ORIGINALS, work_dir).summary["read"] == 0
    assert {name for name in files_below(work_dir) if not name.startswith(f"{layout.UNLISTED}/")} == EVERY_FILE
    assert outputs(work_dir) == outputs(reference)
    assert check(work_dir) == []


@pytest.mark.parametrize("mode", [1, 2])
def test_other_runs_on_the_indexed_set_take_the_scoring_away_too(scored, tmp_path, mode):
    work_dir = Path(shutil.copytree(scored, tmp_path / "out"))
    dedupe(ORIGINALS, work_dir, run_mode=mode)
    assert not [name for name in files_below(work_dir) if name.startswith(("test_", "train_"))]


def test_new_pictures_that_join_the_indexed_set_are_not_read_again(scored, tmp_path):
    work_dir = Path(shutil.copytree(scored, tmp_path / "out"))
    assert dedupe([ORIGINALS, WEB], work_dir).summary["read"] == 0
    assert check(work_dir) == []


def test_mode_2_does_not_take_the_features_of_a_scoring_from_under_itself(scored, tmp_path):
    work_dir = Path(shutil.copytree(scored, tmp_path / "out"))
    with pytest.raises(InputError, match="belongs to a scoring"):
        dedupe(None, work_dir / "test_features.dat", run_mode=2)
    assert content(work_dir) == content(scored)


def test_files_of_ones_own_that_are_called_like_those_of_a_scoring_stay(indexed):
    (indexed / "test_features.dat").write_bytes(b"mine")
    with pytest.raises(WorkDirError, match="of your own"):
        score(WEB, indexed)
    dedupe(ORIGINALS, indexed)
    assert (indexed / "test_features.dat").read_bytes() == b"mine"


@pytest.mark.parametrize(
    ("offsets", "entries"),
    [
        ({"min_offset": 2, "max_offset": 5}, slice(2, 5)),
        ({"min_offset": 7}, slice(7, None)),
        ({"max_offset": 3}, slice(3)),
        ({"num_images": 4}, slice(4)),
        ({"num_images": 4, "min_offset": 0, "max_offset": 2}, slice(2)),
    ],
)
def test_offsets_and_num_images_act_on_the_new_list(indexed, scored, offsets, entries):
    score(WEB, indexed, **offsets)
    everything = [name for _, name in csv_rows(scored / "test_features.dat.csv")[1:]]
    assert [name for _, name in csv_rows(indexed / "test_features.dat.csv")[1:]] == everything[entries]
    assert check(indexed) == []


def test_an_offset_outside_of_the_new_list_is_refused(indexed, reference):
    with pytest.raises(ConfigError, match="list has 11 entries"):
        score(WEB, indexed, min_offset=11)
    assert content(indexed) == content(reference)


@pytest.mark.parametrize(("shard_size", "num_threads"), [(1, 2), (5, 1)])
def test_shards_and_threads_change_no_byte(indexed, scored, shard_size, num_threads):
    score(WEB, indexed, shard_size=shard_size, num_threads=num_threads)
    assert same(indexed) == same(scored)


@pytest.mark.slow
def test_on_ray_a_scoring_leaves_the_bytes_of_inline(indexed, scored, ray_session):
    done = run(WEB, "--work-dir", indexed, "--run-mode", 3, "--num-actors", 2, RAY_ADDRESS=ray_session)
    assert done.returncode == 0, done.stderr
    assert same(indexed) == same(scored)
    assert check(indexed) == []


def test_the_command_tells_what_came_out_and_verbose_says_more(indexed, scored):
    done = run(WEB, "--work-dir", indexed, "--run-mode", 3, "--executor", "inline", "--verbose")
    assert (done.returncode, "11 entries, 11 to read" in done.stderr) == (0, True), done.stderr
    exact, near, outliers, among = (int(number) for number in re.findall(r"\d+", done.stdout.splitlines()[1]))
    assert (exact, near, outliers, among) == (2, 8, 0, 16)
    assert str(indexed / "test_report/index.html") in done.stdout
    assert "New" in (scored / "test_report/index.html").read_text()


@pytest.mark.parametrize("mode", [3, 4])
def test_version_works_in_every_mode(capsys, mode):
    assert fastdup.run(run_mode=mode, version=True) == 0
    assert capsys.readouterr().out == f"{fastdup.__version__}\n"


# --- what the checker would find ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        (lambda out: (out / "test_outliers.csv").unlink(), "test_outliers.csv: missing"),
        (lambda out: (out / "test_shards").mkdir(), "test_shards: still there"),
        (lambda out: damage(out / "train_similarity.parquet", "flip"), "train_similarity.parquet: not what the run"),
        (lambda out: damage(out / "features.dat", "flip"), "features.dat: not what the run"),
        (lambda out: damage(out / "test_manifest.parquet", "flip"), "test_manifest.parquet: not what test_summary"),
        (lambda out: change_line(out / "similarity.csv", b"1.000000", b"0.970000"), "not those of the rows"),
        (lambda out: change_line(out / "similarity.csv", b"/originals/", b"/phone/"), "not from a new to an indexed"),
        (lambda out: drop_line(out / "similarity.csv"), "not as many neighbours as there are"),
        (
            lambda out: shutil.copyfile(out / "similarity.csv", out / "test_outliers.csv"),
            "not the images whose closest",
        ),
    ],
)
def test_the_checker_finds_a_fault_in_a_scoring(scored, tmp_path, fault, expected):
    work_dir = Path(shutil.copytree(scored, tmp_path / "out"))
    fault(work_dir)
    assert expected in "\n".join(check(work_dir))


def change_line(path: Path, old: bytes, new: bytes) -> None:
    data = path.read_bytes()
    assert old in data
    path.write_bytes(data.replace(old, new, 1))


def drop_line(path: Path) -> None:
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-1]))


# --- galleries --------------------------------------------------------------------------------------------------------


def test_galleries_of_a_scored_work_dir(scored, tmp_path):
    by_folder = fastdup.create_duplicates_gallery(work_dir=scored, save_path=tmp_path / "a", num_images=3)
    alone = Path(shutil.copyfile(scored / "similarity.csv", tmp_path / "similarity.csv"))
    by_file = fastdup.create_duplicates_gallery(alone, save_path=tmp_path / "b", num_images=3)
    for page in map(Path, (by_folder, by_file)):
        text = page.read_text()
        assert text.count("<img ") == 6
        assert "the first 3 of 10 pairs" in text
    page = fastdup.create_outliers_gallery(scored / "test_outliers.csv", save_path=tmp_path)
    assert "No outliers." in Path(page).read_text()


def test_the_gallery_of_components_is_of_the_indexed_set(tmp_path):
    dedupe(PHOTOS, tmp_path / "out")
    before = Path(fastdup.create_components_gallery(tmp_path / "out", save_path=tmp_path / "before")).read_text()
    score(WEB, tmp_path / "out")
    assert Path(fastdup.create_components_gallery(tmp_path / "out", save_path=tmp_path / "after")).read_text() == before


# --- what cannot be scored --------------------------------------------------------------------------------------------


def refused(work_dir: Path, error: type[FastdupError], told: str, input_dir: object = WEB, **parameters) -> None:
    before = content(work_dir) if work_dir.exists() else None
    with pytest.raises(error, match=told) as caught:
        score(input_dir, work_dir, **parameters)
    assert "\n" not in str(caught.value)
    assert (content(work_dir) if work_dir.exists() else None) == before


@pytest.mark.parametrize("mode", [3, 4])
def test_without_an_index_there_is_nothing_to_score_against(tmp_path, mode):
    refused(tmp_path / "out", InputError, "no finished run", run_mode=mode)
    dedupe(ORIGINALS, tmp_path / "out", run_mode=1)
    refused(tmp_path / "out", InputError, "run_mode=0 or 2", run_mode=mode)


@pytest.mark.parametrize("how", ["cut", "flip", "empty"])
@pytest.mark.parametrize(
    "name", ["faiss.index", "features.dat", "features.dat.csv", "manifest.parquet", "summary.json"]
)
def test_damage_of_the_indexed_set_is_named_with_what_to_do(indexed, name, how):
    if how == "empty":
        (indexed / name).write_bytes(b"")
    else:
        damage(indexed / name, how)
    refused(indexed, DamagedError, f"{name}.* damaged .*run_mode=0")
    dedupe(ORIGINALS, indexed)
    score(WEB, indexed)
    assert check(indexed) == []


def test_similarities_of_the_indexed_set_that_are_gone_are_told_before_they_would_be_replaced(indexed):
    (indexed / "similarity.csv").unlink()
    refused(indexed, DamagedError, "Neither train_similarity.csv nor similarity.csv")


def test_an_index_of_other_rows_than_the_features_is_refused(tmp_path):
    fastdup.save_binary_feature(tmp_path / "own", [f"/{i}.jpg" for i in range(9)], unit_rows(9, 32))
    work_dir = tmp_path / "own"
    dedupe(None, work_dir, run_mode=2)
    fastdup.save_binary_feature(tmp_path / "new", ["/x.jpg"], unit_rows(1, 32))
    index = faiss.IndexFlatIP(32)
    index.add(unit_rows(8, 32))
    faiss.write_index(index, str(work_dir / "faiss.index"))
    refused(work_dir, DamagedError, "faiss.index", tmp_path / "new", run_mode=4)


def by_another(part: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on features are made by something else than the indexed ones."""
    made = preflight.make_model_facts

    def otherwise(config):
        facts = made(config)
        return facts | {"fingerprint": facts["fingerprint"] | {part: "another"}}

    monkeypatch.setattr(preflight, "make_model_facts", otherwise)


@pytest.mark.parametrize("part", ["model", "decoder", "bounding_box"])
def test_features_that_are_made_otherwise_are_refused_before_any_picture_is_read(indexed, monkeypatch, part):
    by_another(part, monkeypatch)
    monkeypatch.setattr(input_list, "list_manifest", lambda *_: pytest.fail("it was listed"))
    refused(indexed, InputError, f"another {part.replace('_', ' ')}")


@pytest.mark.parametrize("part", ["cpu", "onnxruntime"])
def test_an_index_may_be_scored_against_on_another_machine(indexed, monkeypatch, part):
    by_another(part, monkeypatch)
    score(WEB, indexed)


def test_new_pictures_that_are_all_bad_are_told_and_leave_their_list(reference, indexed):
    with pytest.raises(InputError, match=r"No good image among 5: .*broken/half\.jpg: "):
        score(PHOTOS / "broken", indexed)
    assert len(csv_rows(indexed / "test_features.bad.csv")) == 6
    assert pairs_of(indexed) == []
    assert of_indexed(indexed) == content(reference)
    assert check(indexed) == []


def test_nobody_scores_where_another_run_writes(indexed):
    with open_store(str(indexed)).lock(layout.LOCK), pytest.raises(LockedError):
        score(WEB, indexed)


# --- features that are there ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def features(tmp_path_factory) -> Path:
    work_dir = tmp_path_factory.mktemp("features") / "web"
    dedupe(WEB, work_dir, run_mode=1)
    return work_dir


@pytest.mark.parametrize("name", ["", "features.dat"])
def test_mode_4_on_features_of_mode_1_is_mode_3(reference, indexed, scored, features, name):
    run_inline(features / name, indexed, run_mode=4)
    assert same(indexed) == same(scored)
    assert of_indexed(indexed) == content(reference)
    assert check(indexed) == []


def test_mode_4_takes_ranges_one_or_all(indexed, scored, tmp_path):
    for low, high in ((0, 4), (4, 11)):
        dedupe(WEB, tmp_path / "ranges", run_mode=1, min_offset=low, max_offset=high)
    dedupe(tmp_path / "ranges" / f"{layout.format_range_stem(4, 11)}.dat", indexed, run_mode=4)
    assert len(pairs_of(indexed)) == 6
    assert check(indexed) == []
    dedupe(tmp_path / "ranges", indexed, run_mode=4)
    assert same(indexed) == same(scored)


def test_mode_4_scores_what_was_scored_again(indexed, scored):
    score(WEB, indexed, nearest_neighbors_k=1, threshold=0.99)
    dedupe(indexed / "test_features.dat", indexed, run_mode=4)
    assert same(indexed) == same(scored)


def own(folder: Path, rows: np.ndarray) -> Path:
    fastdup.save_binary_feature(folder, [f"/pictures/{folder.name} {i}.jpg" for i in range(len(rows))], rows)
    return folder


@pytest.mark.parametrize("d", [3, 32, 700])
def test_mode_4_on_features_of_ones_own_of_any_width(tmp_path, d):
    train, test = own(tmp_path / "train", unit_rows(30, d)), own(tmp_path / "test", 7 * unit_rows(20, d, seed=1))
    dedupe(None, train, run_mode=2, threshold=0.0)
    for place in (test, test / "features.dat", train / "test_features.dat"):
        dedupe(place, train, run_mode=4, threshold=0.0, nearest_neighbors_k=3)
        assert not [problem for problem in check(train) if problem.startswith("scoring")]
    cosine = np.round(unit_rows(20, d, seed=1).astype(float) @ unit_rows(30, d).astype(float).T, 6)
    best = {f"/pictures/test {i}.jpg": f"/pictures/train {j}.jpg" for i, j in enumerate(cosine.argmax(1))}
    closest: dict[str, str] = {}
    for source, target, _ in pairs_of(train):
        closest.setdefault(source, target)
    assert closest == {source: best[source] for source in closest}
    assert len(closest) == (cosine.max(1) > 0).sum()
    assert (train / "test_features.dat").read_bytes() == (test / "features.dat").read_bytes()
    assert not (train / "test_manifest.parquet").exists()


def test_mode_4_against_features_of_ones_own_under_another_name(tmp_path):
    train, test = own(tmp_path / "train", unit_rows(30, 8)), own(tmp_path / "test", unit_rows(30, 8)[:5])
    for suffix in ("", ".csv"):
        (train / f"features.dat{suffix}").rename(train / f"mine.dat{suffix}")
    dedupe(None, train / "mine.dat", run_mode=2)
    dedupe(test, train, run_mode=4, nearest_neighbors_k=1)
    assert [value for _, _, value in pairs_of(train)] == [1.0] * 5
    damage(train / "mine.dat", "flip")
    refused(train, DamagedError, "mine.dat is damaged", test, run_mode=4)


def test_mode_3_against_an_index_of_an_unknown_model_is_refused(tmp_path):
    dedupe(None, own(tmp_path / "own", unit_rows(9)), run_mode=2)
    refused(tmp_path / "own", InputError, "whose model is unknown")


@pytest.mark.parametrize(
    ("what", "error", "told"),
    [
        ("width", InputError, "have 8 numbers, the indexed ones 576"),
        ("nothing", InputError, "No features.dat"),
        ("damaged", DamagedError, "features.dat is damaged .*run_mode=1"),
        ("names", DamagedError, r"features.dat.csv is damaged"),
        ("model", InputError, "another model"),
    ],
)
def test_features_that_cannot_be_scored_are_told(indexed, features, tmp_path, what, error, told):
    place = tmp_path / "given"
    if what in ("width", "nothing"):
        own(place, unit_rows(4, 8))
    else:
        shutil.copytree(features, place)
    if what == "nothing":
        (place / "features.dat").unlink()
    if what in ("damaged", "names"):
        damage(place / ("features.dat" if what == "damaged" else "features.dat.csv"), "flip")
    if what == "model":
        facts = read_json(open_store(str(place)), layout.SUMMARY)
        facts["fingerprint"]["model"] = "another"
        write_json(open_store(str(place)), layout.SUMMARY, facts)
    refused(indexed, error, told, place, run_mode=4)


@pytest.mark.parametrize(
    ("parameters", "told"),
    [
        ({"input_dir": ["a", "b"]}, "one features file"),
        ({"num_images": 3}, "num_images: 3 "),
        ({"min_offset": 0}, "min_offset: 0 "),
        ({"max_offset": 9}, "max_offset: 9 "),
        ({"input_dir": None}, "input_dir is missing"),
    ],
)
def test_what_mode_4_cannot_do_is_refused(parameters, told):
    with pytest.raises(ConfigError, match=told):
        fastdup.RunConfig.of(**{"input_dir": "features", "run_mode": 4} | parameters)


# --- dying ------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        *("test_shards/merged.json", "out/test_features.dat", "out/test_manifest.parquet", "train_similarity.csv"),
        *("train_similarity.parquet", "out/similarity.csv", "out/similarity.parquet", "test_summary.json"),
    ],
)
@pytest.mark.parametrize("before", [False, True])
def test_a_scoring_that_dies_before_any_of_its_files_loses_nothing(reference, indexed, scored, tmp_path, name, before):
    """before: another scoring stands there already."""
    if before:
        score(PHONE, indexed)
    flags = ("--work-dir", indexed, "--run-mode", 3, "--executor", "inline", "--no-report")
    died = run(WEB, *flags, PYTHONPATH=dying_before(tmp_path, name))
    if before and name.startswith("train_"):
        assert died.returncode == 0  # it is kept once
    else:
        assert died.returncode == -signal.SIGKILL, died.stderr
    kept = of_indexed(indexed)
    assert all(kept[name] == data for name, data in content(reference).items() if name not in TAKEN)
    assert score(WEB, indexed).summary["read"] <= (11 if "merged" in name or before else 0)
    assert same(indexed) == same(scored)
    assert of_indexed(indexed) == content(reference)
    assert check(indexed) == []


@pytest.mark.slow
@pytest.mark.parametrize("moment", range(8))
def test_a_scoring_that_is_killed_at_any_moment_goes_on_and_the_indexed_set_is_whole(tmp_path, moment):
    pictures = tmp_path / "pictures"
    save_cloudy(pictures, 150, (320, 240))
    out, draw = tmp_path / "out", random.Random(moment)
    dedupe(sorted(map(str, pictures.glob("*")))[:60], out)
    whole = content(out)
    flags = ("--work-dir", out, "--run-mode", 3, "--executor", "inline", "--shard-size", 16, "--no-report")
    for _ in range(3):
        process = start(pictures, *flags, "--num-threads", 1)
        begin = time.monotonic()
        while not (out / "test_shards").exists() and process.poll() is None and time.monotonic() < begin + 60:
            time.sleep(0.002)
        time.sleep(draw.uniform(0, 0.8))
        process.kill()
        process.communicate(timeout=60)
        known = of_indexed(out)
        assert {name: known.get(name) for name in whole if name not in TAKEN} == {
            name: data for name, data in whole.items() if name not in TAKEN
        }
    score(pictures, out)
    assert of_indexed(out) == whole
    dedupe(sorted(map(str, pictures.glob("*")))[:60], tmp_path / "fresh")
    score(pictures, tmp_path / "fresh")
    assert same(out) == same(tmp_path / "fresh")
    assert check(out) == []


@pytest.mark.slow
@pytest.mark.parametrize("name", ["out/similarity.csv", "out/summary.json"])
def test_a_run_that_dies_over_a_scored_work_dir_and_a_scoring_after_it(scored, tmp_path, name):
    out = Path(shutil.copytree(scored, tmp_path / "out"))
    flags = ("--work-dir", out, "--executor", "inline", "--no-report", "--threshold", 0.5)
    died = run(ORIGINALS, *flags, PYTHONPATH=dying_before(tmp_path, name))
    assert died.returncode == -signal.SIGKILL, died.stderr
    dedupe(ORIGINALS, out, threshold=0.5)
    score(WEB, out)
    assert check(out) == []


# --- leakage ----------------------------------------------------------------------------------------------------------


def test_leakage_names_the_test_pictures_that_stand_in_the_training_set(tmp_path, truth, group_of):
    found = fastdup.leakage(ORIGINALS, WEB, tmp_path / "out", executor="inline", report=False)
    rows = csv_rows(tmp_path / "out" / "leakage.csv")
    assert rows[0] == ["test", "train", "similarity", "copy"]
    assert all(group_of[test] == group_of[train] and float(value) > 0.9 for test, train, value, _ in rows[1:])
    exact = {test for test, _, _, copy in rows[1:] if copy == "exact"}
    assert exact == {photo.path for photo in truth.values() if photo.kind == "copy" and "web" in photo.path}
    near = {test for test, _, _, _ in rows[1:]} - exact
    assert (found.exact, found.near, found.copies) == (len(exact), len(near), len(exact | near))
    assert (found.train_images, found.test_images, found.share) == (16, 11, found.copies / 11)
    assert check(tmp_path / "out") == []


def test_leakage_again_reads_and_indexes_nothing_again(tmp_path, monkeypatch):
    asked = {"train": ORIGINALS, "test": WEB, "work_dir": tmp_path / "out", "executor": "inline", "report": False}
    first = fastdup.leakage(**asked)
    before = (tmp_path / "out" / "summary.json").stat().st_mtime_ns
    assert fastdup.leakage(**asked) == first
    assert (tmp_path / "out" / "summary.json").stat().st_mtime_ns == before
    assert summary_of_scoring(tmp_path / "out")["read"] == 0
    fastdup.leakage(**asked | {"faiss_mode": "HNSW32"})
    assert summary_of(tmp_path / "out")["neighbors"]["index"] == "HNSW32"


def test_leakage_sees_a_changed_training_set(tmp_path):
    train = Path(shutil.copytree(ORIGINALS, tmp_path / "train"))
    asked = {"train": train, "test": WEB, "work_dir": tmp_path / "out", "executor": "inline", "report": False}
    assert fastdup.leakage(**asked).train_images == 16
    (train / "cat.jpg").unlink()
    assert fastdup.leakage(**asked).train_images == 15
    assert "cat.png" not in (tmp_path / "out" / "leakage.csv").read_text()


def test_leakage_against_a_finished_run_leaves_it_as_it_is(reference, indexed, features):
    by_pictures = fastdup.leakage(indexed, WEB, executor="inline", report=False)
    rows = (indexed / "leakage.csv").read_bytes()
    assert fastdup.leakage(indexed, features, executor="inline", report=False) == by_pictures
    assert (indexed / "leakage.csv").read_bytes() == rows
    assert of_indexed(indexed) == content(reference)
    with pytest.raises(ConfigError, match="Invalid value for work_dir"):
        fastdup.leakage(indexed, WEB, "elsewhere")
    score(WEB, indexed)
    assert not (indexed / "leakage.csv").exists()  # it was of another scoring


def test_an_exact_copy_is_told_though_k_others_are_as_close(tmp_path):
    train, test = tmp_path / "train", tmp_path / "test"
    first, *_ = save_cloudy(train, 3)
    data = first.read_bytes()
    for number in range(4):  # the same pixels, other bytes
        (train / f"0000 {number}.jpg").write_bytes(data + bytes(number + 1))
    (train / "zebra.jpg").write_bytes(data)
    first.unlink()
    test.mkdir()
    (test / "copy.jpg").write_bytes(data)
    found = fastdup.leakage(train, test, tmp_path / "out", executor="inline", nearest_neighbors_k=1)
    assert (found.exact, found.near) == (1, 0)
    rows = csv_rows(tmp_path / "out" / "leakage.csv")[1:]
    assert [str(test / "copy.jpg"), str(train / "zebra.jpg"), "1.000000", "exact"] in rows


@pytest.mark.parametrize(("limit", "code"), [(9, 4), (10, 0), (0, 4), (100, 0)])
def test_the_command_fails_over_a_number_of_copies(indexed, capsys, limit, code):
    asked = ("leakage", "--train", indexed, "--test", WEB, "--executor", "inline", "--no-report")
    assert call(*asked, "--fail-over", limit) == code
    told = capsys.readouterr()
    assert re.findall(r"[\d.]+", told.out)[:6] == ["10", "11", "90.91", "16", "2", "8"]
    assert told.err.startswith("fastdup-ray: 10 test images ") == (code == 4)
    assert (indexed / "leakage.csv").exists()


def test_the_command_tells_json_and_nothing_else(indexed, capsys):
    asked = ("leakage", "--train", indexed, "--test", WEB, "--executor", "inline", "--no-report")
    assert call(*asked, "--json", "--threshold", 0.998, "--fail-over", 1) == 4
    found = json.loads(capsys.readouterr().out)
    assert (found["exact"], found["near"], found["copies"], found["share"]) == (2, 2, 4, round(4 / 11, 6))
    assert found["file"] == str(indexed / "leakage.csv")


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["--train", "a"], 2, "--test"),
        (["--train", "nowhere", "--test", "nowhere"], 1, "'nowhere' does not exist"),
        (["--train", ORIGINALS, "--test", "nowhere", "--executor", "inline"], 1, "'nowhere' does not exist"),
        (["--train", ORIGINALS, "--test", WEB, "--fail-over", "-1"], 2, "--fail-over"),
        (["--train", ORIGINALS, "--test", WEB, "--threshold", "2"], 2, "Invalid value for --threshold: 2 "),
        (["--train", ORIGINALS, "--test", WEB, "--run-mode", "1"], 2, "--run-mode"),
    ],
)
def test_a_mistake_is_one_line_and_writes_nothing(arguments, code, told, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert call("leakage", *arguments) == code
    text = capsys.readouterr().err
    assert told in text
    assert "Traceback" not in text
    assert files_below(tmp_path) == set()


def test_leakage_takes_only_what_means_something_for_both_sets():
    with pytest.raises(ConfigError, match="'run_mode'"):
        fastdup.leakage(ORIGINALS, WEB, run_mode=2)


def test_the_help_tells_the_exit_code(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    assert call("leakage", "--help") == 0
    assert "Exit with 4" in capsys.readouterr().out


# --- labels -----------------------------------------------------------------------------------------------------------


def write_labels(path: Path, labels: dict[str, str]) -> Path:
    with open(path, "w", encoding="utf-8", errors="surrogateescape", newline="") as file:
        csv.writer(file).writerows([["filename", "label"], *labels.items()])
    return path


def labels_in(work_dir: Path, name: str = "images.parquet") -> dict[str, str | None]:
    table = pq.read_table(work_dir / name)
    return dict(zip(table["filename"].to_pylist(), table["label"].to_pylist(), strict=True))


def test_labels_from_folders_stand_in_the_table_and_conflicts_in_a_list(tmp_path):
    run_inline(PHOTOS, tmp_path / "out", labels="folder")
    assert all(label == Path(name).parent.name for name, label in labels_in(tmp_path / "out").items())
    rows = csv_rows(tmp_path / "out" / "label_conflicts.csv")
    assert rows[0] == ["from", "to", "distance", "label_from", "label_to"]
    expected = [pair for pair in pairs_of(tmp_path / "out") if Path(pair[0]).parent.name != Path(pair[1]).parent.name]
    assert [(a, b, float(value)) for a, b, value, _, _ in rows[1:]] == expected
    assert expected
    counts = summary_of(tmp_path / "out")["counts"]
    assert counts["labelled"] == 33
    assert counts["label_conflicts"] == len({frozenset(pair[:2]) for pair in expected})
    page = (tmp_path / "out" / "report/index.html").read_text()
    assert "Images by label" in page
    assert "label conflicts" in page
    assert '<th scope="row">originals</th><td>16</td>' in page
    assert check(tmp_path / "out") == []


def test_labels_from_a_csv_start_at_its_folder_and_may_be_missing(tmp_path):
    pictures = Path(shutil.copytree(PHONE, tmp_path / "pictures"))
    shutil.copyfile(pictures / "cat (1).jpg", pictures / "cat, again.jpg")
    shutil.copyfile(pictures / "cat (1).jpg", pictures / "cat 3.jpg")
    labels = {"pictures/cat (1).jpg": "cat", str(pictures / "cat, again.jpg"): "dog, or so", "not/there.jpg": "x"}
    write_labels(tmp_path / "labels.csv", labels | {"pictures/IMG_0001.jpg": ""})
    dedupe(pictures, tmp_path / "out", labels=tmp_path / "labels.csv", nearest_neighbors_k=5)
    found = {Path(name).name: label for name, label in labels_in(tmp_path / "out").items()}
    assert {name: label for name, label in found.items() if label} == {
        "cat (1).jpg": "cat",
        "cat, again.jpg": "dog, or so",
    }
    rows = csv_rows(tmp_path / "out" / "label_conflicts.csv")[1:]
    assert [(Path(a).name, Path(b).name, x, y) for a, b, _, x, y in rows] == [
        ("cat (1).jpg", "cat, again.jpg", "cat", "dog, or so"),
        ("cat, again.jpg", "cat (1).jpg", "dog, or so", "cat"),
    ]
    assert check(tmp_path / "out") == []


def test_labels_work_in_modes_1_and_2_and_vanish_when_they_are_not_given(tmp_path):
    dedupe(PHOTOS, tmp_path / "out", run_mode=1)
    dedupe(None, tmp_path / "out", run_mode=2, labels="folder")
    assert (tmp_path / "out" / "label_conflicts.csv").exists()
    dedupe(PHOTOS, tmp_path / "out")
    assert not (tmp_path / "out" / "label_conflicts.csv").exists()
    assert "label" not in pq.read_schema(tmp_path / "out" / "images.parquet").names
    assert check(tmp_path / "out") == []


def test_labels_of_a_scoring_are_those_of_both_sets(indexed, reference):
    run_inline(WEB, indexed, run_mode=3, labels="folder")
    rows = csv_rows(indexed / "test_label_conflicts.csv")[1:]
    assert {row[4] for row in rows} == {"originals"}
    assert {row[3] for row in rows} == {"web", "2019"}
    assert labels_in(indexed, "test_images.parquet").keys() == {row[0] for row in rows} | {GREY}
    assert "Images by label" in (indexed / "test_report/index.html").read_text()
    assert of_indexed(indexed).keys() - {"test_label_conflicts.csv"} == content(reference).keys()
    assert check(indexed) == []
    dedupe(ORIGINALS, indexed)
    assert not (indexed / "test_label_conflicts.csv").exists()


def test_labels_that_are_not_utf8_or_strange_come_through(tmp_path):
    pictures = tmp_path / "pictures"
    first = save_cloudy(pictures, 2)[0]
    strange = Path(os.fsdecode(os.fsencode(pictures) + b'/caf\xe9, "x"\n<b>.jpg'))
    shutil.copyfile(first, strange)
    write_labels(tmp_path / "labels", {str(first): "<script>alert(1)</script>", str(strange): os.fsdecode(b"caf\xe9")})
    run_inline(pictures, tmp_path / "out", labels=tmp_path / "labels")
    labels = set(labels_in(tmp_path / "out").values())
    assert labels == {"<script>alert(1)</script>", "caf\\xe9", None}
    assert "<script>" not in (tmp_path / "out" / "report/index.html").read_text()
    assert check(tmp_path / "out") == []


def test_labels_that_look_like_formulas_are_escaped_in_csv_files_and_nowhere_else(tmp_path):
    pictures = tmp_path / "pictures"
    first = save_cloudy(pictures / "=1+1", 2)[0]
    for folder in ("'=1+1", "cat"):
        (pictures / folder).mkdir()
        shutil.copyfile(first, pictures / folder / "=copy.jpg")
    folders = {"=1+1", "'=1+1", "cat"}
    result = run_inline(pictures, tmp_path / "out", labels="folder", nearest_neighbors_k=4)
    assert set(labels_in(tmp_path / "out").values()) == folders
    conflicts = tmp_path / "out" / "label_conflicts.csv"
    assert {row[3] for row in csv_rows(conflicts)[1:]} == {"'=1+1", "''=1+1", "cat"}
    assert set(result.label_conflicts["label_from"].to_pylist()) == folders
    page = (tmp_path / "out" / "report/index.html").read_text()
    assert '"=1+1"' in page
    assert "''=1+1" not in page
    assert check(tmp_path / "out") == []
    with open(conflicts, newline="") as file:
        labels = {row["from"]: row["label_from"] for row in csv.DictReader(file)}
    write_labels(tmp_path / "labels.csv", labels)  # what our CSV says of a label, and what a spreadsheet made of it
    run_inline(pictures, tmp_path / "again", labels=tmp_path / "labels.csv", nearest_neighbors_k=4)
    assert set(labels_in(tmp_path / "again").values()) == {*folders, None}


def test_a_path_of_labels_is_made_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert fastdup.RunConfig.of(input_dir="x", labels="labels.csv").labels == str(tmp_path / "labels.csv")


def test_a_file_is_labelled_for_all_that_comes_from_it(tmp_path):
    labels = write_labels(tmp_path / "labels.csv", {"a.mp4": "beach", "a.mp4#t=2.000": "sea", "s3://b/c.jpg": "sky"})
    names = [f"{tmp_path}/a.mp4#t=1.000", f"{tmp_path}/a.mp4#t=2.000", "s3://b/c.jpg", "/a.mp4"]
    uris = [f"{tmp_path}/a.mp4"] * 2 + names[2:]
    found = read_labels(str(labels), encode_names(names), encode_names(uris))
    assert found.to_pylist() == ["beach", "sea", "sky", None]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("name,label\na,b\n", "no column 'filename'"),
        ("filename,class\na,b\n", "no column 'label'"),
        ("filename,label\na,b\na,c\n", "listed twice"),
        ("filename,label\na\n", "not as many cells"),
        (None, "Cannot read the file of labels"),
    ],
)
def test_labels_that_cannot_be_used_are_told_before_any_work(tmp_path, text, told):
    if text is not None:
        (tmp_path / "labels.csv").write_text(text)
    with pytest.raises(InputError, match=told):
        dedupe(PHONE, tmp_path / "out", labels=tmp_path / "labels.csv")
    assert not (tmp_path / "out").exists()
