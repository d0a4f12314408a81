"""`fastdup-ray evaluate`: figures that were reckoned by hand, and one clear line for whatever cannot be measured."""

import csv
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pyarrow as pa
import pytest

from fastdup_ray import save_binary_feature
from fastdup_ray.analysis.verified_pairs import LOSSES, VERIFIED, VerifiedPairs
from fastdup_ray.cli.main import main
from fastdup_ray.errors import FastdupError
from fastdup_ray.evaluation import pairs as pairs_module
from fastdup_ray.evaluation.evaluate import evaluate, evaluate_embeddings
from fastdup_ray.evaluation.relations import NOT_COMPARED, PairTotals
from fastdup_ray.evaluation.truth import Label, read_truth
from fastdup_ray.storage.tables import encode_names
from tests.helpers.embeddings import unit_rows
from tests.helpers.runs import PHOTOS, csv_rows, run_inline

ANGLES = {"a": 0, "a-crop": 20, "b": 30, "b-grey": 35, "b-crop": 60, "c": 190}
"""Degrees of rows on a circle. Pairs by cosine: 5° b-grey, 10° a-crop b, 15° a-crop b-grey, 20° a-crop, 25° b-grey
b-crop, 30° a b and b b-crop, 35° a b-grey, 40° a-crop b-crop, 60° a b-crop, and c far from all."""

AVERAGE_PRECISION = (1 / 1 + 2 / 4 + 3 / 5 + 4 / 7) / 4
"""The copies are at ranks 1, 4 and 5; the fourth shares ranks 6 and 7 with a pair of strangers, so both count."""


def labels() -> dict[str, Label]:
    return {name: Label(name[0], name[2:]) for name in ANGLES}


def rows() -> np.ndarray:
    radians = np.deg2rad(list(ANGLES.values()))
    return np.stack([np.cos(radians), np.sin(radians)], 1).astype(np.float32)


@pytest.fixture
def stored(tmp_path) -> Path:
    """A work_dir with the rows, and its truth file beside it."""
    save_binary_feature(tmp_path / "out", [str(tmp_path / "photos" / name) for name in ANGLES], rows())
    lines = [f"photos/{name},{name[0]},{name[2:]}" for name in ANGLES]
    (tmp_path / "truth.csv").write_text("\n".join(["path,group,edit", *lines]) + "\n")
    return tmp_path


def cosine(degrees: float) -> float:
    return float(np.cos(np.deg2rad(degrees)))


def test_the_figures_are_those_reckoned_by_hand():
    evaluation = evaluate_embeddings(encode_names(ANGLES), rows(), labels())
    assert evaluation.curve.average_precision == pytest.approx(AVERAGE_PRECISION)
    assert evaluation.curve.at(cosine(22)) == (2 / 4, 2 / 4)
    assert evaluation.curve.at(cosine(5)) == (1, 0)  # strictly above
    assert evaluation.curve.at(-1) == (4 / 15, 1)
    assert evaluation.curve.threshold_for(0.99) == pytest.approx(cosine(10), abs=1e-6)
    assert evaluation.curve.at(evaluation.curve.threshold_for(0.6)) == (3 / 5, 3 / 4)
    assert evaluation.curve.threshold_for(1.1) is None


def test_recall_by_edit_counts_copies_with_their_original_only():
    evaluation = evaluate_embeddings(encode_names(ANGLES), rows(), labels())
    assert evaluation.recalls == {
        "crop": (2, [1.0, 1.0, 0.5, 0.0, 0.0]),  # cosines 0.940 and 0.866
        "grey": (1, [1.0, 1.0, 1.0, 1.0, 1.0]),
    }


@pytest.mark.parametrize("at_once", [1, 7, 1 << 23])
def test_the_counts_do_not_depend_on_the_blocks(monkeypatch, at_once):
    many = unit_rows(60, 8)
    truth = {str(i): Label(str(i // 3), "" if i % 3 == 0 else f"edit {i % 3}") for i in range(60)}
    whole = evaluate_embeddings(encode_names(truth), many, truth)
    monkeypatch.setattr(pairs_module, "PAIRS_AT_ONCE", at_once)
    blocks = evaluate_embeddings(encode_names(truth), many, truth)
    assert blocks.text() == whole.text()
    assert whole.curve.same.sum() == 60
    assert whole.curve.other.sum() == 60 * 59 // 2 - 60


def test_a_picture_without_a_group_is_like_no_other():
    truth = {name: Label("", None) for name in ANGLES} | {name: Label("a", None) for name in ("a", "a-crop")}
    evaluation = evaluate_embeddings(encode_names(ANGLES), rows(), truth)
    assert evaluation.curve.same.sum() == 1
    assert evaluation.recalls == {}


LABELED = {
    "a": Label("a", ""),
    "a-crop": Label("a", "crop"),
    "a-copy": Label("a", "copy"),
    "b": Label("b", ""),
    "b-grey": Label("b", "grey"),
    "c": Label("c", ""),
    "c-crop": Label("c", "crop"),
}
"""Of the duplicates, of which there are 5, a and its copy have the same bytes; one more image has no label."""


def make_verified() -> VerifiedPairs:
    pairs = [(0, 1, "cropped"), (0, 3, "same"), (1, 3, "different"), (3, 4, "same"), (0, 7, "same")]
    rows = [
        dict.fromkeys(VERIFIED.schema.names, 0.5)
        | dict.fromkeys(LOSSES)
        | {"from": source, "to": target, "relation": relation, "contents": f"{source} {target}"}
        for source, target, relation in sorted(pairs)
    ]
    first = np.array([0, 1, 0, 3, 4, 5, 6, 7])
    return VerifiedPairs(pa.Table.from_pylist(rows, VERIFIED.schema), first, first)


def test_relations_are_measured_over_all_images_with_their_bytes():
    names = [*LABELED, "not labeled"]
    relations = evaluate_embeddings(encode_names(names), unit_rows(len(names), 8), LABELED, make_verified()).relations
    assert relations.duplicates == 5
    assert relations.relations == {
        "same": PairTotals(4, 2),  # a a-copy, b b-grey, and strangers: a b, a-copy b
        "cropped": PairTotals(2, 2),
        "different": PairTotals(1, 0),
    }
    assert relations.direct == {"same": PairTotals(4, 2), "any confirmed": PairTotals(6, 4)}
    assert relations.joined == {"same": PairTotals(6, 2), "any confirmed": PairTotals(10, 4)}
    assert relations.direct["same"].precision == 2 / 4
    assert relations.recall(relations.direct["any confirmed"]) == 4 / 5
    assert relations.edits == {
        "copy": {"same": 1},
        "crop": {"cropped": 1, NOT_COMPARED: 1},
        "grey": {"same": 1},
    }


def test_what_was_not_verified_has_no_relations(stored):
    assert evaluate(stored / "out", stored / "truth.csv").relations is None


def test_the_command_prints_and_draws(stored, capsys):
    plot = stored / "curves.svg"
    main(["evaluate", str(stored / "out"), str(stored / "truth.csv"), "--plot", str(plot)])
    told = capsys.readouterr().out
    assert "6 images, 15 pairs, 4 of them duplicates" in told
    assert f"micro average precision {AVERAGE_PRECISION:.4f}" in told
    assert "for 95%" in told
    assert "crop" in told
    lines = [line for line in ElementTree.parse(plot).iter() if line.tag.endswith("polyline")]
    assert len(lines) == 3
    assert all(0 <= float(number) <= 320 for line in lines for number in line.get("points").replace(",", " ").split())


@pytest.fixture
def truth_file(tmp_path) -> Path:
    """The truth about the photos."""
    path = tmp_path / "truth.csv"
    (header, *lines) = csv_rows(PHOTOS.with_suffix(".csv"))
    with open(path, "w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([header, *([str(PHOTOS / name), *rest] for name, *rest in lines)])
    return path


def test_a_folder_of_pictures_goes_through_a_run(truth_file, tmp_path, capsys):
    main(["evaluate", str(PHOTOS), str(truth_file), "--executor", "inline", "--work-dir", str(tmp_path / "out")])
    first = capsys.readouterr().out
    assert "5 images of the truth file" in first
    assert "same, joined" in first
    assert not (tmp_path / "out" / "report").exists()
    main(["evaluate", str(tmp_path / "out"), str(truth_file)])
    assert capsys.readouterr().out == first
    main(["evaluate", str(tmp_path / "out" / "features.dat"), str(truth_file)])
    assert capsys.readouterr().out == first


def test_relations_are_those_of_the_last_run(truth_file, tmp_path):
    out = tmp_path / "out"
    for parameters, has_relations in (({}, True), ({"verify": "off"}, False), ({}, True), ({"run_mode": 1}, False)):
        run_inline(PHOTOS, out, report=False, **parameters)
        evaluation = evaluate(out, truth_file)
        assert (evaluation.relations is not None) == has_relations


def test_relative_paths_start_at_the_truth_file_and_others_stay(tmp_path, monkeypatch):
    monkeypatch.chdir("/")
    truth = tmp_path / "truth.csv"
    truth.write_text('\ufeffgroup,path\n1,"a, b.jpg"\n1,/x/c.jpg\n2,s3://bucket/d.jpg\n', encoding="utf-8")
    assert read_truth(str(truth)) == {
        str(tmp_path / "a, b.jpg"): Label("1", None),
        "/x/c.jpg": Label("1", None),
        "s3://bucket/d.jpg": Label("2", None),
    }


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "no column 'path'"),
        ("path,gruop\na,1\n", "no column 'group'"),
        ("path,group\na\n", "line 2"),
        ("path,group\na,1,2\n", "line 2"),
        ("path,group\na,1\nb,1\na,1\n", "line 4: 'a' is listed twice"),
        ('path,group\n"a,1\n', "not a CSV"),
        ("path,group\n", "none of the images"),
        ("path,group\nelsewhere,1\n", "none of the images"),
        ("path,group\nphotos/a,1\nphotos/b,2\n", "no two images of one group"),
    ],
)
def test_a_truth_that_cannot_be_used_is_one_line(stored, text, told):
    (stored / "truth.csv").write_text(text)
    with pytest.raises(FastdupError, match=told) as error:
        evaluate(str(stored / "out"), str(stored / "truth.csv"))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"plot": "curves.png"}, "Invalid value for plot"),
        ({"plot": "truth.csv/curves.svg"}, "Cannot write"),
        ({"plot": "truth.csv"}, "Invalid value for plot"),
        ({"truth": "not-there.csv"}, "Cannot read the truth file"),
        ({"work_dir": "elsewhere"}, "Invalid value for work_dir"),
        ({"location": "nowhere"}, "nowhere"),
        ({"location": "photos", "executor": "cloud"}, "Invalid value for executor: 'cloud'"),
    ],
)
def test_what_cannot_be_done_is_one_line(stored, monkeypatch, arguments, told):
    monkeypatch.chdir(stored)
    with pytest.raises(FastdupError, match=told) as error:
        evaluate(**{"location": "out", "truth": "truth.csv"} | arguments)
    assert "\n" not in str(error.value)
