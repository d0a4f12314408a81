"""What a row of features promises. Relations, never numbers: the model gets better, these stay."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from fastdup_ray import load_binary_feature
from fastdup_ray.common.records import Box, Limits
from fastdup_ray.errors import ConfigError, DamagedError, InputError
from fastdup_ray.extract import model as model_module
from fastdup_ray.extract.decode import decode_bytes
from fastdup_ray.extract.extractor import Extractor, ExtractSpec
from fastdup_ray.extract.model import BATCH, DIMENSIONS, IMAGENET_MEAN, IMAGENET_STD, SIDE, Model, make_fingerprint
from fastdup_ray.extract.pillow_settings import strict_pillow
from fastdup_ray.storage import open_store
from tests.checker import check
from tests.conftest import PHOTOS, cloudy, csv_rows, encode, run_inline, save_cloudy


@pytest.fixture(scope="module")
def model() -> Model:
    return Model()


@pytest.fixture(scope="module")
def pixels() -> np.ndarray:
    """More than two batches of pictures that differ."""
    return np.stack([np.asarray(cloudy(seed, (SIDE, SIDE))) for seed in range(2 * BATCH + 5)])


@pytest.fixture(scope="module")
def rows(model: Model, pixels: np.ndarray) -> np.ndarray:
    return model.embed(pixels)


def test_a_row_is_576_numbers_of_length_one(rows, pixels):
    assert rows.shape == (len(pixels), DIMENSIONS) == (len(pixels), 576)
    assert rows.dtype == np.float32
    assert np.linalg.norm(rows.astype(np.float64), axis=1) == pytest.approx(1, abs=1e-6)


def test_no_pictures_have_no_rows(model):
    assert model.embed(np.empty((0, SIDE, SIDE, 3), np.uint8)).shape == (0, DIMENSIONS)


@pytest.mark.parametrize("size", [1, 2, BATCH - 1, BATCH, BATCH + 1])
def test_a_row_does_not_depend_on_how_many_come_with_it(model, pixels, rows, size):
    parts = [model.embed(pixels[start : start + size]) for start in range(0, len(pixels), size)]
    assert np.concatenate(parts).tobytes() == rows.tobytes()


def test_a_row_does_not_depend_on_what_comes_with_it(model, pixels, rows):
    order = np.random.default_rng(0).permutation(len(pixels))
    assert model.embed(pixels[order]).tobytes() == rows[order].tobytes()


def test_two_models_agree(pixels, rows):
    assert Model().embed(pixels).tobytes() == rows.tobytes()


def test_flat_pictures_have_rows_too(model):
    flat = np.stack([np.full((SIDE, SIDE, 3), grey, np.uint8) for grey in (0, 128, 255)])
    assert np.isfinite(model.embed(flat)).all()


def test_every_copy_is_closer_to_its_own_than_to_any_stranger(finished, truth):
    names, features = load_binary_feature(finished)
    groups = np.array([truth[name].group for name in names])
    cosine = features @ features.T
    same = groups[:, None] == groups
    closest_stranger = np.where(same, -1, cosine).max(axis=1)
    farthest_copy = np.where(same, cosine, 1).min(axis=1)
    assert not [name for name, near, far in zip(names, closest_stranger, farthest_copy, strict=True) if near >= far]


@pytest.mark.parametrize("name", ["coffee.jpg", "cat.jpg", "pagoda.jpg"])
def test_the_more_is_cut_away_the_farther_is_a_copy(model, name):
    with Image.open(PHOTOS / "originals" / name) as image:
        width, height = image.size
        copies = [image.crop((0, 0, width * part // 100, height * part // 100)) for part in (100, 95, 60)]
    with strict_pillow():
        decoded = [
            decode_bytes(encode(copy.convert("RGB"), "PNG"), (SIDE, SIDE), Limits(10**8)).pixels for copy in copies
        ]
    rows = model.embed(np.stack(decoded))
    assert 1 > rows[0] @ rows[1] > rows[0] @ rows[2]


@pytest.mark.parametrize("name", ["coffee.jpg", "cat.jpg", "pagoda.jpg"])
def test_a_mirrored_picture_is_a_copy_and_an_upended_one_is_not(model, name):
    with Image.open(PHOTOS / "originals" / name) as image:
        whole = np.asarray(image.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BILINEAR))
    rows = model.embed(np.stack([whole, whole[:, ::-1], whole[::-1]]))
    assert rows[0] @ rows[1] > 0.85 > rows[0] @ rows[2]


def test_the_file_is_at_most_8_megabytes():
    assert Path(model_module.__file__).with_name("embedded").joinpath("model.onnx").stat().st_size <= 8_000_000


@pytest.fixture
def own_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of its own for the embedded model's files, which the code takes for the package's."""
    source = Path(model_module.__file__).parent / "embedded"
    for name in ("model.onnx", "model.onnx.sha256"):
        shutil.copyfile(source / name, tmp_path / name)
    monkeypatch.setattr(model_module, "_EMBEDDED", tmp_path)
    return tmp_path


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty"])
def test_a_damaged_model_is_refused(own_copy, damage):
    Model()
    path = own_copy / "model.onnx"
    data = bytearray(path.read_bytes())
    if damage == "flipped":
        data[len(data) // 2] ^= 1
    path.write_bytes({"cut": data[:-1], "flipped": data, "empty": b""}[damage])
    with pytest.raises(DamagedError, match="model is damaged"):
        Model()


def test_the_fingerprint_tells_boxes_models_and_devices_apart():
    box = Box(0, 0, 9, 9)
    told = [
        make_fingerprint(),
        make_fingerprint(box=box),
        make_fingerprint(box=Box(0, 0, 9, 8)),
        make_fingerprint("x"),
        make_fingerprint(gpu=True),
    ]
    assert all(one != other for place, one in enumerate(told) for other in told[:place])


def test_the_fingerprint_names_model_decoder_runtime_and_cpu():
    assert set(make_fingerprint()) == {"model", "decoder", "onnxruntime", "cpu"}
    assert all(make_fingerprint().values())


# --- models of one's own ----------------------------------------------------------------------------------------------

WEIGHTS = np.random.default_rng(0).standard_normal((3, 40)).astype(np.float32)


def save_model(
    path: Path,
    *,
    shape: tuple = ("n", 3, 32, 48),
    kind: int = TensorProto.FLOAT,
    weights: np.ndarray = WEIGHTS,
    tail: tuple = (),
    inputs: int = 1,
    outputs: int = 1,
    flat: bool = False,
    metadata: dict[str, str] | None = None,
    **options: Any,
) -> str:
    """Mean colour times `weights`: a graph that numpy can follow. flat: all of the input as it is."""
    axes = [2, 3] if shape[1] == 3 else [1, 2]
    names = [f"input{number}" for number in range(inputs)]
    nodes = [
        helper.make_node("Cast", [names[0]], ["real"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["real", "axes"], ["colour"], keepdims=0),
        helper.make_node("MatMul", ["colour", "weights"], ["row"]),
        helper.make_node("Reshape", ["row", "shape"], ["output0"]),
        *(helper.make_node("Identity", ["row"], [f"output{number}"]) for number in range(1, outputs)),
    ]
    if flat:
        nodes = [nodes[0], helper.make_node("Flatten", ["real"], ["output0"])]
    constants = {"axes": np.array(axes), "weights": weights, "shape": np.array([-1, weights.shape[1], *tail])}
    graph = helper.make_graph(
        nodes,
        "mean colour",
        [helper.make_tensor_value_info(name, kind, shape) for name in names],
        [helper.make_tensor_value_info(f"output{number}", TensorProto.FLOAT, None) for number in range(outputs)],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    helper.set_model_props(model, metadata or {})
    onnx.save_model(model, path, **options)
    return str(path)


def expected_rows(pixels: np.ndarray, mean=IMAGENET_MEAN, std=IMAGENET_STD) -> np.ndarray:
    rows = ((pixels / 255).mean(axis=(1, 2)) - mean) / std @ WEIGHTS
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def pictures_of(model: Model, n: int = 2 * BATCH + 5) -> np.ndarray:
    return np.stack([np.asarray(cloudy(seed, model.size)) for seed in range(n)])


@pytest.mark.parametrize("shape", [("n", 3, 32, 48), ("n", 32, 48, 3), (1, 3, 32, 48), (7, 32, 48, 3), (32, 3, 32, 48)])
def test_layout_and_batch_are_read_from_the_graph(shape, tmp_path):
    model = Model(save_model(tmp_path / "m.onnx", shape=shape))
    assert (model.size, model.dimensions) == ((48, 32), 40)
    pixels = pictures_of(model)
    rows = model.embed(pixels)
    assert rows.dtype == np.float32
    assert np.allclose(rows, expected_rows(pixels), atol=1e-5)
    assert np.concatenate([model.embed(pixels[:3]), model.embed(pixels[3:])]).tobytes() == rows.tobytes()


def test_uint8_is_given_as_it_is(tmp_path):
    model = Model(save_model(tmp_path / "m.onnx", kind=TensorProto.UINT8))
    pixels = pictures_of(model)
    assert np.allclose(model.embed(pixels), expected_rows(pixels, 0, 1), atol=1e-5)


@pytest.mark.parametrize(
    ("metadata", "mean", "std"),
    [
        ({"mean": "0.5", "std": "0.5"}, 0.5, 0.5),
        ({"mean": "0,0,0", "std": "1,1,1"}, 0, 1),
        ({"mean": "[0.1, 0.2, 0.3]"}, (0.1, 0.2, 0.3), IMAGENET_STD),
        ({"mean": "(0)", "std": "(0.00392156862745098)", "author": "somebody"}, 0, 1 / 255),
    ],
)
def test_the_models_metadata_says_how_colours_are_scaled(metadata, mean, std, tmp_path):
    model = Model(save_model(tmp_path / "m.onnx", metadata=metadata))
    pixels = pictures_of(model)
    assert np.allclose(model.embed(pixels), expected_rows(pixels, mean, std), atol=1e-5)


def test_a_side_that_the_graph_leaves_open_is_224(tmp_path):
    assert Model(save_model(tmp_path / "m.onnx", shape=("n", 3, "h", "w"))).size == (224, 224)
    assert Model(save_model(tmp_path / "m.onnx", shape=("n", "h", 64, 3))).size == (64, 224)


def test_trailing_ones_of_the_output_are_dropped(tmp_path):
    assert Model(save_model(tmp_path / "m.onnx", tail=(1, 1))).dimensions == 40


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
        ({"metadata": {"std": "0"}}, "std in its metadata must be above 0"),
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
    assert f"model_path: {path!r}" in str(caught.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("content", [b"", b"no model at all" * 9, b"\x08\x09"])
def test_a_file_that_is_no_model_is_refused(content, tmp_path):
    (tmp_path / "m.onnx").write_bytes(content)
    with pytest.raises(ConfigError, match="onnxruntime cannot open it"):
        Model(str(tmp_path / "m.onnx"))


@pytest.mark.parametrize("missing", ["gone.onnx", "."])
def test_a_model_that_cannot_be_read_is_refused(missing, tmp_path):
    with pytest.raises(ConfigError, match="cannot be read on"):
        Model(str(tmp_path / missing))


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


@pytest.mark.parametrize("damage", ["other", "gone"])
def test_a_worker_that_finds_another_model_or_none_says_so(damage, tmp_path):
    path = save_model(tmp_path / "m.onnx")
    facts = {"fingerprint": make_fingerprint(Model(path).sha256), "d": 40}
    if damage == "other":
        save_model(tmp_path / "m.onnx", weights=WEIGHTS + 1)
    else:
        (tmp_path / "m.onnx").unlink()
    with pytest.raises(ConfigError, match=r"is another file than|cannot be read on"):
        Extractor(ExtractSpec(open_store(str(tmp_path)), 1, Limits(10**8), 60.0, 4096, facts, model_path=path))


@pytest.mark.gpu
def test_a_gpu_gives_nearly_the_same_rows(pixels, rows):
    if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        pytest.skip("this onnxruntime has no CUDA")
    cosine = (Model(gpu=True).embed(pixels) * rows).sum(axis=1)
    assert cosine.min() > 0.999
