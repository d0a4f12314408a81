"""`invariant`: mirrored and turned pictures find those that they are copies of, and change nothing else."""

import json
from itertools import cycle
from pathlib import Path

import pyarrow.compute as pc
import pytest
from PIL import Image

from fastdup_ray import RunConfig, load_binary_feature
from fastdup_ray.common import csv_columns
from fastdup_ray.errors import ConfigError, WorkDirError
from fastdup_ray.extract.transforms import TRANSFORMS, select_transforms
from fastdup_ray.neighbors import partition_threshold
from tests.helpers.commands import call, run, summary_of
from tests.helpers.kills import dying_before
from tests.helpers.models import save_model
from tests.helpers.runs import EVERY_FILE, PHOTOS, csv_rows, files_below, outputs, run_inline
from tests.helpers.videos import make_clip

BACK = {turn: turn for turn in TRANSFORMS} | {"rotate_90": "rotate_270", "rotate_270": "rotate_90"}
"""What undoes a turn."""

FEATURES = ("features.dat", "features.dat.csv", "features.bad.csv", "features.dat.bad", "manifest.parquet")
OF_INVARIANT = {"similarity_invariant.csv", "turned_summary.json", *(f"turned_{name}" for name in FEATURES)}


@pytest.fixture(scope="module")
def pictures(tmp_path_factory) -> dict[str, str]:
    """Name of a picture -> the turn that made its copy, `turned` of the name; a broken one stands beside."""
    folder = tmp_path_factory.mktemp("turns") / "pictures"
    folder.mkdir()
    turns = {}
    for path, turn in zip(sorted((PHOTOS / "originals").iterdir()), cycle(TRANSFORMS), strict=False):
        with Image.open(path) as opened:
            picture = opened.convert("RGB")
        picture.thumbnail((400, 400))
        picture.save(folder / f"{path.stem}.png")
        picture.transpose(Image.Transpose[turn.upper()]).save(folder / f"turned-{path.stem}.png.jpg", quality=85)
        turns[str(folder / f"{path.stem}.png")] = turn
    (folder / "broken.jpg").write_bytes(b"no picture")
    return turns


@pytest.fixture(scope="module")
def folder(pictures) -> Path:
    return Path(next(iter(pictures))).parent


@pytest.fixture(scope="module")
def finished(folder, tmp_path_factory) -> Path:
    work_dir = tmp_path_factory.mktemp("invariant") / "out"
    run_inline(folder, work_dir, invariant=["flip", "rotate"], report=False)
    return work_dir


def turned(name: str) -> str:
    path = Path(name)
    return str(path.with_name(f"turned-{path.name}.jpg"))


def test_every_turned_copy_is_found_with_its_turn(pictures, finished):
    rows = csv_rows(finished / "similarity_invariant.csv")
    plain = {(one, other) for one, other, _ in csv_rows(finished / "similarity.csv")[1:]}
    expected = {(name, turned(name), turn) for name, turn in pictures.items()}
    expected |= {(turned(name), name, BACK[turn]) for name, turn in pictures.items()}
    expected = {row for row in expected if row[:2] not in plain}
    assert rows[0] == list(csv_columns.INVARIANT_HEADER)
    assert {(one, other, turn) for one, other, _, turn in rows[1:]} == expected
    assert {turn for *_, turn in expected} >= {*TRANSFORMS} - {"flip_left_right"}  # which the model finds by itself
    values = [float(value) for *_, value, _ in rows[1:]]
    assert min(values) > 0.95
    assert values == sorted(values, reverse=True)


def test_nothing_else_changes(folder, finished, tmp_path):
    run_inline(folder, tmp_path / "out", report=False)
    assert outputs(finished) == outputs(tmp_path / "out")
    assert files_below(finished) - files_below(tmp_path / "out") == OF_INVARIANT


def test_a_row_has_those_of_the_turned_pictures(pictures, finished, tmp_path):
    """As if each had been turned by hand, and saved without loss."""
    names, rows = load_binary_feature(finished / "turned_features.dat")
    assert rows.shape == (2 * len(pictures), 7 * 576)
    own = rows.reshape(len(rows), 7, 576)
    with Image.open(names[0]) as opened:
        for place, turn in enumerate(TRANSFORMS):
            opened.convert("RGB").transpose(Image.Transpose[turn.upper()]).save(tmp_path / f"{turn}.png")
            run_inline(tmp_path / f"{turn}.png", tmp_path / turn, report=False)
            by_hand = load_binary_feature(tmp_path / turn)[1][0]
            assert by_hand @ own[0, place] > 0.999, turn


@pytest.mark.parametrize(
    ("text", "number"), [("flip", 2), ("rotate", 3), ("flip,rotate", 7), ("rotate, flip", 7), ("", 0)]
)
def test_what_may_be_asked_for(text, number):
    assert len(select_transforms(RunConfig.of(input_dir="x", invariant=text).invariant)) == number


def test_a_flip_alone_finds_no_rotation(pictures, folder, tmp_path):
    result = run_inline(folder, tmp_path / "out", invariant="flip", report=False)
    turns = pc.unique(result.invariant["turn"]).to_pylist()
    assert {*turns} <= {"flip_left_right", "flip_top_bottom"}
    assert "flip_top_bottom" in turns


@pytest.mark.slow
def test_again_reads_nothing(folder, tmp_path):
    words = folder, "--work-dir", tmp_path / "out", "--executor", "inline", "--no-report", "--invariant", "rotate"
    to_read = []
    for _ in range(2):
        told = [json.loads(line) for line in run(*words, "--log-format", "json").stdout.splitlines()]
        to_read.append([line["to_read"] for line in told if line.get("step") == "reuse"])
    entries = len([*folder.iterdir()])
    assert to_read == [[entries, entries], [0, 0]]


def test_a_run_without_takes_it_away_but_nobodys_own(folder, tmp_path):
    out = tmp_path / "out"
    run_inline(folder, out, invariant="flip")
    run_inline(folder, out)
    assert files_below(out) == EVERY_FILE
    (out / "turned_features.dat").write_text("mine")
    run_inline(folder, out)
    with pytest.raises(WorkDirError, match="of your own, which invariant would replace; move it elsewhere"):
        run_inline(folder, out, invariant="flip")
    assert (out / "turned_features.dat").read_text() == "mine"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["turned_features.dat", "turned_summary.json", "similarity_invariant.csv"])
def test_a_killed_run_goes_on(folder, finished, tmp_path, name):
    words = folder, "--work-dir", tmp_path / "out", "--executor", "inline", "--no-report", "--invariant", "flip,rotate"
    assert run(*words, PYTHONPATH=dying_before(tmp_path, name)).returncode == -9
    ended = run(*words)
    assert ended.returncode == 0, ended.stderr
    assert "mirrored or rotated" in ended.stdout
    for same in OF_INVARIANT - {"turned_summary.json"}:
        assert (tmp_path / "out" / same).read_bytes() == (finished / same).read_bytes(), same


@pytest.mark.slow
def test_on_ray(folder, finished, tmp_path, ray_session):
    words = folder, "--work-dir", tmp_path / "out", "--no-report", "--invariant", "flip,rotate", "--num-actors", 2
    ended = run(*words, RAY_ADDRESS=ray_session)
    assert ended.returncode == 0, ended.stderr
    for same in OF_INVARIANT - {"turned_summary.json"}:
        assert (tmp_path / "out" / same).read_bytes() == (finished / same).read_bytes(), same


def test_frames_of_videos_are_pictures_too(tmp_path):
    (tmp_path / "in").mkdir()
    make_clip(tmp_path / "in" / "clip.mp4", seconds=3)
    run_inline(tmp_path / "in", tmp_path / "frames", report=False)
    run_inline(tmp_path / "in", tmp_path / "out", invariant="rotate", report=False)
    assert load_binary_feature(tmp_path / "out" / "turned_features.dat")[0] == load_binary_feature(tmp_path / "out")[0]


@pytest.mark.parametrize(
    ("parameters", "line"),
    [
        ({"invariant": "mirror"}, "invariant"),
        ({"invariant": "flip", "run_mode": 1}, "invariant.*run_mode=1"),
        ({"invariant": "flip", "run_mode": 3}, "invariant.*run_mode=3"),
    ],
)
def test_what_is_not_possible(parameters, line):
    with pytest.raises(ConfigError, match=line):
        RunConfig.of(input_dir="x", **parameters)


def test_what_is_no_square_is_not_turned(folder, tmp_path):
    model = save_model(tmp_path / "m.onnx", shape=("n", 96, 64, 3))
    with pytest.raises(ConfigError, match=r"invariant: rotate .*64 x 96"):
        run_inline(folder, tmp_path / "out", model_path=model, invariant="rotate", report=False)
    flipped = run_inline(folder, tmp_path / "out", model_path=model, invariant="flip", report=False)
    assert flipped.summary["invariant"]["turns"] == select_transforms(["flip"])


def test_partitions_have_no_index_to_look_in(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(partition_threshold, "PARTITIONED_ABOVE", 10)
    with pytest.raises(ConfigError, match="searched in partitions"):
        run_inline(folder, tmp_path / "out", invariant="flip", report=False)
    named = run_inline(folder, tmp_path / "out", invariant="flip", faiss_mode="HNSW32", report=False)
    assert named.summary["invariant"]["distinct_pairs"] > 0


def test_the_command_tells_how_many(folder, finished, tmp_path, capsys):
    words = "run", folder, "--work-dir", tmp_path / "out", "--executor", "inline", "--invariant", "flip,rotate"
    assert call(*words, "--no-report") == 0
    pairs = summary_of(finished)["invariant"]["distinct_pairs"]
    assert f"{pairs} more pairs are mirrored or rotated" in capsys.readouterr().out
