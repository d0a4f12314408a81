"""Runs by other models, boxes and trimmed margins."""

import json
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto
from PIL import Image, ImageOps

from fastdup_ray import load_binary_feature
from fastdup_ray.errors import ConfigError, InputError
from fastdup_ray.extract.model import FAST, SIDE, Model
from fastdup_ray.parameter_types import MODELS
from tests.checker import check
from tests.helpers.images import cloudy, save_cloudy
from tests.helpers.models import WEIGHTS, save_model
from tests.helpers.pixels import pixels_of, squashed
from tests.helpers.runs import PHOTOS, csv_rows, run_inline


def rows_of_run(image: Image.Image, tmp_path: Path, **parameters) -> np.ndarray:
    """The row that a run makes of one picture."""
    folder = tmp_path / "in"
    folder.mkdir()
    image.save(folder / "picture.png")
    run_inline(folder, tmp_path / "out", report=False, **parameters)
    return load_binary_feature(tmp_path / "out")[1]


@pytest.mark.parametrize("name", MODELS)
def test_a_run_cuts_them_off(photo, tmp_path, name):
    framed = ImageOps.expand(photo, (0, 60), "black")
    rows = rows_of_run(framed, tmp_path, model=name)
    assert rows.tobytes() == Model(MODELS[name]).embed(pixels_of(framed)[None]).tobytes()


def test_a_run_with_the_fast_model_can_be_searched_and_resumed(tmp_path):
    result = run_inline(PHOTOS, tmp_path / "out", model="fast", report=False)
    check(tmp_path / "out")
    names, _ = load_binary_feature(tmp_path / "out")
    assert json.loads((tmp_path / "out" / "config.json").read_text())["model_path"] == FAST
    found = result.search(names[0], k=1)
    assert found["filename"].to_pylist() == [names[0]]
    again = run_inline(PHOTOS, tmp_path / "out", model="fast", report=False)
    assert again.summary["read"] == 0


def test_a_run_with_another_model_gives_it_the_picture_as_it_is(photo, tmp_path):
    framed = ImageOps.expand(photo, (0, 60), "black")
    path = save_model(tmp_path / "m.onnx", shape=("n", SIDE, SIDE, 3))
    rows = rows_of_run(framed, tmp_path, model_path=path)
    assert rows.tobytes() == Model(path).embed(squashed(framed)[None]).tobytes()


def test_every_copy_is_closer_to_its_own_than_to_any_stranger(finished, truth):
    names, features = load_binary_feature(finished)
    groups = np.array([truth[name].group for name in names])
    cosine = features @ features.T
    same = groups[:, None] == groups
    closest_stranger = np.where(same, -1, cosine).max(axis=1)
    farthest_copy = np.where(same, cosine, 1).min(axis=1)
    assert not [name for name, near, far in zip(names, closest_stranger, farthest_copy, strict=True) if near >= far]


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"flat": True, "shape": ("n", 3, 32)}, r"input must be \(n, 3, height, width\).*not \(n, 3, 32\)"),
        ({"flat": True, "shape": ("n", 1, 32, 32)}, r"not \(n, 1, 32, 32\)"),
        ({"flat": True, "shape": ("n", "c", 32, 32)}, "input must be"),
        ({"kind": TensorProto.INT32}, r"uint8 or float32, not tensor\(int32\)"),
        ({"inputs": 2}, "one input and one output, not 2 and 1"),
        ({"outputs": 2}, "one input and one output, not 1 and 2"),
        ({"tail": (2, 2), "weights": WEIGHTS[:, :4]}, r"it fails on 48 x 32|output must be"),
        ({"tail": (1, 2)}, r"output must be \(n, d\).*, not float32 \(\d+, 40, 1, 2\)"),
        ({"metadata": None, "weights": np.ones((5, 4), np.float32)}, "it fails on 48 x 32 pixels|cannot open it"),
        ({"metadata": {"mean": "a lot"}}, "mean='a lot' in its metadata must be"),
        ({"metadata": {"std": "1,2"}}, "std='1,2' in its metadata must be"),
        ({"metadata": {"std": "0"}}, "std='0' in its metadata must be above 0"),
        ({"save_as_external_data": True, "size_threshold": 1, "location": "weights"}, "weights are in another file"),
    ],
)
def test_a_graph_that_is_not_a_picture_in_and_one_row_out_is_refused_with_the_reason(
    wrong, reason, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    path = save_model(tmp_path / "m.onnx", **wrong)
    with pytest.raises(ConfigError, match=reason) as caught:
        run_inline(PHOTOS, tmp_path / "out", model_path=path)
    assert "\n" not in str(caught.value)
    assert repr(path) in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_a_run_by_another_model_has_its_width_everywhere(tmp_path):
    out, path = tmp_path / "out", save_model(tmp_path / "m.onnx", metadata={"mean": "0", "std": "1"})
    run_inline(PHOTOS, out, model_path=path)
    names, features = load_binary_feature(out)
    assert features.shape == (len(names), 40) == (33, 40)
    assert check(out, PHOTOS) == []


def test_other_models_and_boxes_never_share_rows(tmp_path):
    folder, out = tmp_path / "in", tmp_path / "out"
    save_cloudy(folder, 5)
    models = [save_model(tmp_path / f"{d}.onnx", weights=WEIGHTS[:, :d]) for d in (30, 40)]
    box = "rows=0,cols=0,width=40,height=40"
    read = []
    for parameters in (
        {},
        {"bounding_box": box},
        {"bounding_box": "height=40,width=40,rows=0,cols=0"},
        {"bounding_box": box, "model_path": models[0]},
        {"model_path": models[0]},
        {"model_path": models[1]},
        {"model_path": models[1]},
        {},
    ):
        read.append(run_inline(folder, out, report=False, **parameters).summary["read"])
    assert read == [5, 5, 0, 5, 5, 5, 0, 5]


def test_a_box_is_in_the_pixels_of_the_whole_picture_and_what_it_misses_is_bad(tmp_path):
    folder, out = tmp_path / "in", tmp_path / "out"
    save_cloudy(folder, 3, size=(300, 200))
    cloudy(7, (90, 90)).save(folder / "small.png")
    run_inline(folder, out, bounding_box="rows=100,cols=100,width=100,height=100")
    assert [row[1] for row in csv_rows(out / "features.bad.csv")[1:]] == ["BOUNDING_BOX_OUTSIDE"]
    assert check(out, folder) == []
    cut = tmp_path / "cut"
    cut.mkdir()
    with Image.open(folder / "0001.jpg") as image:
        image.crop((100, 100, 200, 200)).save(cut / "0001.png")
    run_inline(cut, tmp_path / "out2")
    rows, expected = load_binary_feature(out)[1], load_binary_feature(tmp_path / "out2")[1]
    assert rows[1] @ expected[0] > 0.9999


@pytest.mark.parametrize("weights", [np.zeros((3, 4)), np.full((3, 4), np.nan), np.full((3, 4), 3e38)])
def test_a_model_whose_answers_have_no_direction_makes_no_row(weights, tmp_path):
    folder, out = tmp_path / "in", tmp_path / "out"
    save_cloudy(folder, 3)
    path = save_model(tmp_path / "m.onnx", weights=weights.astype(np.float32))
    with pytest.raises(InputError, match="No good image"):
        run_inline(folder, out, model_path=path)
    assert [row[1] for row in csv_rows(out / "features.bad.csv")[1:]] == ["UNSUPPORTED"] * 3


def test_a_picture_without_a_direction_is_bad_alone(tmp_path):
    folder, out = tmp_path / "in", tmp_path / "out"
    save_cloudy(folder, 20)
    for name in ("0003.jpg", "0017.jpg"):
        Image.new("RGB", (64, 48)).save(folder / name)
    path = save_model(tmp_path / "m.onnx", metadata={"mean": "0", "std": "1"})  # black is zeros
    run_inline(folder, out, model_path=path)
    assert [Path(row[0]).name for row in csv_rows(out / "features.bad.csv")[1:]] == ["0003.jpg", "0017.jpg"]
    assert check(out, folder) == []


def test_gpu_without_one_is_refused_before_any_work(tmp_path):
    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this onnxruntime knows CUDA")
    with pytest.raises(ConfigError, match="compute: 'gpu'"):
        run_inline(PHOTOS, tmp_path / "out", compute="gpu")
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_on_ray_another_model_gives_the_same_bytes(tmp_path, ray_driver):
    folder = tmp_path / "in"
    save_cloudy(folder, 20)
    options = {"model_path": save_model(tmp_path / "m.onnx"), "bounding_box": "rows=9,cols=9,width=30,height=30"}
    for executor in ("inline", "ray"):
        run_inline(folder, tmp_path / executor, executor=executor, shard_size=7, report=False, **options)
    assert check(tmp_path / "ray", folder) == []
    for name in ("features.dat", "manifest.parquet", "images.parquet"):
        assert (tmp_path / "ray" / name).read_bytes() == (tmp_path / "inline" / name).read_bytes()


@pytest.mark.slow
def test_a_ray_without_a_gpu_is_refused_before_any_work(tmp_path, ray_driver):
    with pytest.raises(ConfigError, match="this Ray has no GPU"):
        run_inline(PHOTOS, tmp_path / "out", executor="ray", compute="gpu")
    assert not list((tmp_path / "out").glob("features*"))
