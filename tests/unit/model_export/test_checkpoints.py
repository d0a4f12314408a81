"""What a checkpoint is of, and the preprocessing that it comes with."""

import json
from pathlib import Path

import pytest

from fastdup_ray.errors import InputError
from fastdup_ray.extract.preprocessing import Preprocessing
from fastdup_ray.model_export.checkpoints import Kind, find_kind, read_preprocessing

MEAN, STD = (0.48, 0.45, 0.4), (0.26, 0.25, 0.27)

PROCESSOR = {
    "do_resize": True,
    "size": {"shortest_edge": 256},
    "resample": 3,
    "do_center_crop": True,
    "crop_size": {"height": 224, "width": 224},
    "image_mean": list(MEAN),
    "image_std": list(STD),
}


def save(folder: Path, content: object, name: str = "preprocessor_config.json") -> str:
    (folder / name).write_text(content if isinstance(content, str) else json.dumps(content))
    return str(folder)


@pytest.mark.parametrize(
    ("model_type", "kind"), [("dinov2", Kind.DINOV2), ("dinov2_with_registers", Kind.DINOV2), ("clip", Kind.CLIP)]
)
def test_a_folder_is_what_its_config_says(model_type, kind, tmp_path):
    assert find_kind(save(tmp_path, {"model_type": model_type}, "config.json")) is kind


def test_a_file_is_taken_for_sscd(tmp_path):
    (tmp_path / "m.torchscript.pt").touch()
    path = str(tmp_path / "m.torchscript.pt")
    assert find_kind(path) is Kind.SSCD
    assert read_preprocessing(path, Kind.SSCD) == Preprocessing((3, 320, 320))


@pytest.mark.parametrize("content", [{"model_type": "bert"}, {}, [], "no JSON", None])
def test_what_is_of_no_such_model_is_refused(content, tmp_path):
    if content is not None:
        save(tmp_path, content, "config.json")
    with pytest.raises(InputError) as caught:
        find_kind(str(tmp_path))
    assert "config.json" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_is_not_there_is_refused(tmp_path):
    with pytest.raises(InputError):
        find_kind(str(tmp_path / "gone"))


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, Preprocessing((3, 224, 224), MEAN, STD, "bicubic", "center", 0.875)),
        ({"size": 224, "crop_size": 224}, Preprocessing((3, 224, 224), MEAN, STD, "bicubic", "center", 1.0)),
        (
            {"size": {"height": 96, "width": 128}, "do_center_crop": False, "resample": 2},
            Preprocessing((3, 96, 128), MEAN, STD, "bilinear", "squash", 1.0),
        ),
        (
            {"size": {"height": 256, "width": 256}, "resample": 1, "do_normalize": False},
            Preprocessing((3, 224, 224), (0.0,), (1.0,), "lanczos", "squash", 0.875),
        ),
    ],
)
@pytest.mark.parametrize("nested", [False, True])
def test_the_files_of_transformers_are_understood(change, expected, nested, tmp_path):
    processor = PROCESSOR | change
    if nested:
        save(tmp_path, {"image_processor": processor, "processor_class": "CLIPProcessor"}, "processor_config.json")
    else:
        save(tmp_path, processor)
    assert read_preprocessing(str(tmp_path), Kind.CLIP) == expected


@pytest.mark.parametrize(
    "change",
    [
        {"do_center_crop": False},
        {"do_resize": False},
        {"do_rescale": False},
        {"resample": 0},
        {"resample": None},
        {"size": None},
        {"size": {"longest_edge": 9}},
        {"size": {"height": 100, "width": 100}},
        {"size": {"height": 256, "width": 300}},
        {"size": 0},
        {"crop_size": None},
        {"image_mean": None},
        {"image_std": "wide"},
    ],
)
def test_another_preprocessing_is_refused_in_one_line(change, tmp_path):
    with pytest.raises(InputError) as caught:
        read_preprocessing(save(tmp_path, PROCESSOR | change), Kind.CLIP)
    assert "preprocessor_config.json" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_folder_without_the_file_of_the_processor_is_refused(tmp_path):
    with pytest.raises(InputError) as caught:
        read_preprocessing(str(tmp_path), Kind.DINOV2)
    assert "preprocessor_config.json" in str(caught.value)
