"""What a Python program works with: `deduplicate`, `RunResult`, its tables and its search."""

import json
import pickle
import shutil
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import fastdup_ray as fastdup
from fastdup_ray.cli.main import cli
from fastdup_ray.common.relations import Relation
from fastdup_ray.errors import ConfigError, InputError
from tests.helpers.runs import PHOTOS

PHONE = PHOTOS / "phone"
QUICK = {"executor": "inline", "report": False, "verify": "off"}


# --- deduplicate ------------------------------------------------------------------------------------------------------


def test_deduplicate_takes_parameters_or_a_configuration(tmp_path):
    by_keywords = fastdup.deduplicate(PHONE, work_dir=tmp_path / "one", threshold=0.9, **QUICK)
    config = fastdup.RunConfig.of(input_dir=PHONE, work_dir=tmp_path / "two", threshold=0.9, **QUICK)
    by_config = fastdup.deduplicate(config)
    assert by_keywords.counts == by_config.counts
    assert by_keywords.similarity.equals(by_config.similarity)


def test_a_data_frame_names_the_pictures_and_one_that_is_gone_is_bad(tmp_path):
    paths = [*sorted(PHONE.iterdir()), tmp_path / "gone.jpg"]
    frame = pd.DataFrame({"id": range(len(paths)), "filename": map(str, paths)})
    result = fastdup.deduplicate(frame, tmp_path / "out", **QUICK)
    assert result.images["filename"].to_pylist() == frame["filename"].tolist()[:-1]
    assert result.bad["error_code"].to_pylist() == ["MISSING"]


@pytest.mark.parametrize(
    ("arguments", "keywords", "named"),
    [
        (("photos",), {"treshold": 0.9}, "threshold"),
        (("photos",), {"estimate": True}, "estimate"),
        ((), {"version": True}, "version"),
        (("photos",), {"input_dir": "photos"}, "input_dir"),
        ((fastdup.RunConfig.of(input_dir="photos"),), {"threshold": 0.9}, "RunConfig"),
        (("photos",) * 100, {}, "100"),
        ((), {}, "input_dir"),
    ],
)
def test_a_wrong_call_raises_one_line_and_writes_nothing(arguments, keywords, named, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=named) as caught:
        fastdup.deduplicate(*arguments, **keywords)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_run_takes_positional_arguments_as_its_signature_says(tmp_path, capsys):
    assert fastdup.run(PHONE, tmp_path / "out", "cpu", False, 1, 2, **QUICK) == 0
    assert fastdup.RunResult.open(tmp_path / "out").counts["entries"] == 2
    assert fastdup.run(PHONE, tmp_path / "new", input_dir=PHONE) == 1
    assert "input_dir" in capsys.readouterr().err


# --- the result -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def result(finished) -> fastdup.RunResult:
    return fastdup.RunResult.open(finished)


def test_a_result_shows_its_counts_and_its_report(result, monkeypatch):
    shown = repr(result)
    rows = dict(line.strip().rsplit("  ", 1) for line in shown.splitlines()[1:])
    rows = {name.strip(): value for name, value in rows.items()}
    assert rows["images"] == str(result.counts["images"])
    assert rows["unreadable"] == str(result.counts["bad"])
    assert rows["report"] == str(result.report)
    assert len(shown.splitlines()) < 12

    monkeypatch.chdir(Path(result.work_dir).parent)
    assert "RunResult: out\n" in repr(result)


def test_a_notebook_gets_a_table_with_a_link(result, monkeypatch, tmp_path):
    assert f'href="{result.report.as_uri()}"' in result._repr_html_()
    monkeypatch.chdir(Path(result.work_dir).parent)
    assert 'href="out/report/index.html"' in result._repr_html_()
    counted = replace(result, summary={"counts": {"duplicates": 17, "near_copies": 10, "to_review": 4}})
    assert "17" in counted._repr_html_()
    assert "10" not in counted._repr_html_()
    odd = replace(result, work_dir=str(tmp_path / "<b>&"))
    assert "<b>" not in odd._repr_html_()


def test_the_tables_have_the_numbers_that_a_run_counts(result):
    duplicates = result.duplicates
    assert len(duplicates) == result.counts["duplicates"]
    safe = duplicates.filter(duplicates["safe_to_drop"])
    assert (len(safe), sum(safe["size"].to_pylist())) == (result.counts["safe_to_drop"], result.counts["safe_bytes"])
    assert result.counts["to_review"] == len(duplicates) - len(safe)


def test_duplicates_agree_with_the_plan(result, tmp_path):
    plan = fastdup.make_plan(result.work_dir, tmp_path / "plan.csv").rows
    dropped = {(row.filename, row.keeper, row.similarity) for row in plan if row.is_dropped}
    safe = result.duplicates.filter(result.duplicates["safe_to_drop"]).to_pylist()
    assert {(row["filename"], row["keeper"], row["similarity"]) for row in safe} == dropped


def test_each_duplicate_is_listed_once_and_says_what_it_repeats(result, truth):
    rows = result.duplicates.to_pylist()
    names = [row["filename"] for row in rows]
    assert len(names) == len(set(names)) >= result.counts["exact_copies"] + result.counts["near_copies"]
    assert all(truth[row["filename"]].group == truth[row["keeper"]].group for row in rows)
    exact = {row["filename"] for row in result.exact_copies.to_pylist()}
    assert {row["kind"] for row in rows} <= {"bytes", "pixels", "similar", *Relation}
    assert sum(row["kind"] == "bytes" for row in rows) == result.counts["same_bytes"] == len(exact)
    assert not [row for row in rows if row["kind"] in ("bytes", "pixels", "same") and not row["safe_to_drop"]]


def test_groups_add_up(result):
    groups, duplicates = result.groups.to_pandas(), result.duplicates.to_pandas()
    assert groups["safe_to_drop"].sum() == duplicates["safe_to_drop"].sum()
    assert groups["reclaimable_bytes"].sum() == duplicates[duplicates["safe_to_drop"]]["size"].sum()
    assert groups["images"].sum() == len({*duplicates["filename"], *duplicates["keeper"]})
    assert groups["images"].is_monotonic_decreasing
    component = result.components.to_pandas().groupby("component_id")["count"].first()
    counted = groups.set_index("group")["images"]
    assert (counted >= component[counted.index]).all()


@pytest.mark.parametrize("parameters", [{"verify": "off"}, {"run_cc": 0}, {"verify": "off", "run_cc": 0}])
def test_duplicates_need_neither_components_nor_verified_pairs(parameters, tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    for name in ("originals/cat.jpg", "web/cat.png", "phone/cat (1).jpg", "originals/coffee.jpg"):
        shutil.copy(PHOTOS / name, folder)
    result = fastdup.deduplicate(folder, tmp_path / "out", **{"executor": "inline", "report": False} | parameters)
    duplicates = result.duplicates.to_pylist()
    assert {"bytes"} <= {row["kind"] for row in duplicates}
    assert result.groups["images"].to_pylist() == [3]
    assert {row["group"] for row in duplicates} == {*result.groups["group"].to_pylist()}


def test_pictures_joined_over_several_steps_are_one_group_and_each_repeats_what_it_is_linked_with(tmp_path):
    folder, image = tmp_path / "images", Image.open(PHOTOS / "originals" / "coffee.jpg")
    folder.mkdir()
    width, height = image.size
    for name, part in {"a": (0, 0, 1, 1), "b": (0, 0, 0.8, 1), "c": (0.2, 0, 1, 1)}.items():
        box = (part[0] * width, part[1] * height, part[2] * width, part[3] * height)
        image.crop(tuple(map(int, box))).save(folder / f"{name}.png")
    result = fastdup.deduplicate(folder, tmp_path / "out", executor="inline", report=False, verify="all")
    duplicates = result.duplicates.to_pylist()
    assert [Path(row["filename"]).stem for row in duplicates] == ["b", "c"]
    assert {(Path(row["keeper"]).stem, row["kind"], row["safe_to_drop"]) for row in duplicates} == {
        ("a", "cropped", False)
    }
    (group,) = result.groups.to_pylist()
    assert (group["images"], group["safe_to_drop"], group["reclaimable_bytes"]) == (3, 0, 0)


def test_a_run_without_duplicates_has_empty_tables(tmp_path):
    result = fastdup.deduplicate(PHOTOS / "originals" / "cat.jpg", tmp_path / "out", **QUICK)
    assert (len(result.duplicates), len(result.groups)) == (0, 0)


def test_a_scoring_has_no_groups(finished, tmp_path):
    out = shutil.copytree(finished, tmp_path / "out")
    scored = fastdup.deduplicate(PHONE, out, run_mode=3, **QUICK)
    with pytest.raises(InputError, match="exact_copies"):
        _ = scored.duplicates


def test_a_result_can_be_pickled_after_its_use(result):
    result.search(next(PHONE.iterdir()), 1)
    again = pickle.loads(pickle.dumps(result))
    assert again == result
    assert again.duplicates.equals(result.duplicates)


def test_a_gallery_takes_the_work_dir_first(finished, tmp_path):
    for make in (fastdup.create_duplicates_gallery, fastdup.create_outliers_gallery, fastdup.create_components_gallery):
        assert Path(make(finished, tmp_path / "pages")).is_file()


# --- search -----------------------------------------------------------------------------------------------------------

CAT = PHOTOS / "originals" / "cat.jpg"


@pytest.mark.parametrize(
    "image",
    [str(CAT), CAT, CAT.read_bytes(), Image.open(CAT), np.asarray(Image.open(CAT)), Image.open(CAT).convert("CMYK")],
)
def test_a_picture_of_any_form_finds_itself_and_its_copies(result, image, truth):
    found = result.search(image, 4).to_pylist()
    assert found[0]["similarity"] > 0.98
    assert {truth[row["filename"]].group for row in found[:3]} == {truth[str(CAT)].group}
    assert found[3]["similarity"] < 0.85


def test_a_picture_that_lies_on_its_side_is_turned(result, tmp_path):
    with Image.open(CAT) as image:
        exif = image.getexif()
        exif[0x0112] = 6
        image.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "side.png", exif=exif)
    with Image.open(tmp_path / "side.png") as image:
        found = [result.search(query, 1)["similarity"][0].as_py() for query in (image, tmp_path / "side.png")]
    assert min(found) > 0.98


def test_a_search_is_exact(result, finished):
    features = fastdup.load_binary(finished)[1]
    names = fastdup.load_binary(finished)[0]
    row = names.index(str(CAT))
    expected = np.sort((features @ features[row]).astype(np.float64))[::-1]
    found = result.search(CAT, 1000)
    assert len(found) == len(names)
    np.testing.assert_allclose(found["similarity"].to_numpy(), expected, atol=2e-6)


def test_a_search_changes_nothing(result, finished):
    before = {path: path.stat().st_mtime_ns for path in finished.rglob("*")}
    result.search(CAT, verify=True)
    assert {path: path.stat().st_mtime_ns for path in finished.rglob("*")} == before


def test_a_search_verifies_what_it_finds(result, tmp_path):
    with Image.open(CAT) as image:
        width, height = image.size
        image.crop((0, 0, width * 3 // 4, height)).save(tmp_path / "cut.png")
    found = result.search(tmp_path / "cut.png", 5, verify=True).to_pylist()
    relations = {row["filename"]: row["relation"] for row in found}
    assert relations[str(CAT)] == "cropped"
    assert "different" in relations.values()


def test_a_picture_that_is_gone_has_no_relation(tmp_path):
    folder = shutil.copytree(PHONE, tmp_path / "images")
    result = fastdup.deduplicate(folder, tmp_path / "out", **QUICK)
    gone, *_ = sorted(folder.iterdir())
    image = gone.read_bytes()
    gone.unlink()
    assert result.search(image, 1, verify=True).to_pylist() == [
        {"filename": str(gone), "similarity": 1.0, "relation": None}
    ]


def test_a_later_search_takes_a_fraction_of_a_second(result):
    result.search(CAT)
    start = time.process_time()
    result.search(CAT)
    assert time.process_time() - start < 0.5


@pytest.mark.parametrize(
    ("image", "error"),
    [
        ("nowhere.jpg", InputError),
        (PHOTOS / "broken" / "half.jpg", InputError),
        (b"no image", InputError),
        (b"", InputError),
        (np.zeros((4, 4)), ConfigError),
        (np.zeros((0, 4, 3), np.uint8), ConfigError),
        (np.zeros((4, 4, 5), np.uint8), ConfigError),
        (Image.open(PHOTOS / "broken" / "half.jpg"), InputError),
        (Image.new("RGB", (0, 0)), InputError),
        (None, ConfigError),
        ([CAT], ConfigError),
    ],
)
def test_what_is_no_picture_is_one_line(result, image, error):
    with pytest.raises(error) as caught:
        result.search(image, verify=True)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("k", [0, -1, 1.5, True, "3", None])
def test_a_search_asks_for_at_least_one_picture(result, k):
    with pytest.raises(ConfigError, match="k: "):
        result.search(CAT, k)


def test_a_run_of_embeddings_alone_can_be_searched(tmp_path):
    result = fastdup.deduplicate(PHONE, tmp_path / "out", run_mode=1, **QUICK)
    image = next(PHONE.iterdir())
    assert result.search(image, 1)["filename"].to_pylist() == [str(image)]


def test_a_search_uses_the_bounding_box_of_the_run(tmp_path):
    box = "rows=10,cols=10,width=90,height=90"
    result = fastdup.deduplicate(PHONE, tmp_path / "out", bounding_box=box, **QUICK)
    image = next(PHONE.iterdir())
    assert result.search(image, 1).to_pylist() == [{"filename": str(image), "similarity": 1.0}]


def test_embeddings_of_ones_own_cannot_be_searched(tmp_path):
    features = np.eye(3, 576, dtype=np.float32)
    fastdup.save_binary_feature(tmp_path / "out", ["a", "b", "c"], features)
    result = fastdup.deduplicate(work_dir=tmp_path / "out", run_mode=2, **QUICK)
    with pytest.raises(InputError, match="not made by a run"):
        result.search(CAT)


def test_embeddings_by_another_decoder_cannot_be_searched(result):
    fingerprint = {**result.summary["fingerprint"], "decoder": "recipe 0"}
    with pytest.raises(InputError, match="another decoder"):
        replace(result, summary={**result.summary, "fingerprint": fingerprint}).search(CAT)


def test_the_command_prints_the_same(finished, result, capsys):
    expected = result.search(CAT, 3, verify=True).to_pylist()
    cli.main(["search", str(finished), str(CAT), "-k", "3", "--verify", "--json"], standalone_mode=False)
    assert json.loads(capsys.readouterr().out) == expected
    cli.main(["search", str(finished), str(CAT), "-k", "3"], standalone_mode=False)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("  ", 1)[1] for line in lines] == [row["filename"] for row in expected]
