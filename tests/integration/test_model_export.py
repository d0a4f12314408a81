"""Checkpoints become ONNX files that give torch's embeddings: real architectures, small, with random weights.

Those that need torch run where the extra `export-model` is installed.
"""

import hashlib
import json
import sys
from pathlib import Path

import numpy as np
import pytest

from fastdup_ray import RunResult, export_model, load_binary_feature
from fastdup_ray.errors import ConfigError, FastdupError, InputError, WorkDirError
from fastdup_ray.extract.model import Model
from tests.checker import check
from tests.helpers.commands import call
from tests.helpers.images import save_cloudy
from tests.helpers.runs import run_inline

WORDS = ("a", "red", "car", "two", "dogs")
PROCESSOR = {
    "size": {"shortest_edge": 64},
    "resample": 3,
    "do_center_crop": True,
    "crop_size": {"height": 56, "width": 56},
    "image_mean": [0.5, 0.4, 0.3],
    "image_std": [0.2, 0.25, 0.3],
}


@pytest.fixture(scope="module")
def torch():
    pytest.importorskip("onnxscript")
    pytest.importorskip("transformers")
    module = pytest.importorskip("torch")
    module.manual_seed(0)
    return module


def save_processor(folder: Path) -> None:
    (folder / "preprocessor_config.json").write_text(json.dumps(PROCESSOR))


@pytest.fixture(scope="module")
def dinov2(torch, tmp_path_factory) -> Path:
    from transformers import Dinov2Config, Dinov2Model

    folder = tmp_path_factory.mktemp("dinov2")
    config = Dinov2Config(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=4, image_size=140, patch_size=14, mlp_ratio=2
    )
    Dinov2Model(config).save_pretrained(folder)
    save_processor(folder)
    return folder


@pytest.fixture(scope="module")
def clip(torch, tmp_path_factory) -> Path:
    from transformers import CLIPConfig, CLIPModel

    folder = tmp_path_factory.mktemp("clip")
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    letters = [chr(code) for code in range(ord("a"), ord("z") + 1)]
    vocabulary = [*letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    config = CLIPConfig(
        text_config=sizes
        | {
            "vocab_size": len(vocabulary),
            "max_position_embeddings": 40,
            "bos_token_id": len(vocabulary) - 2,
            "eos_token_id": len(vocabulary) - 1,
            "pad_token_id": len(vocabulary) - 1,
        },
        vision_config=sizes | {"image_size": 56, "patch_size": 14},
        projection_dim=24,
    )
    CLIPModel(config).save_pretrained(folder)
    save_processor(folder)
    (folder / "vocab.json").write_text(json.dumps({token: number for number, token in enumerate(vocabulary)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "CLIPTokenizer"}))
    return folder


@pytest.fixture(scope="module")
def sscd(torch, tmp_path_factory) -> Path:
    nn = torch.nn
    network = nn.Sequential(nn.Conv2d(3, 8, 7, 4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 16))
    path = tmp_path_factory.mktemp("sscd") / "sscd.torchscript.pt"
    with torch.no_grad():
        torch.jit.trace(network.eval(), torch.randn(1, 3, 320, 320)).save(path)
    return path


@pytest.fixture(scope="module")
def exported_clip(clip, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("exported") / "clip.onnx"
    result = export_model(clip, path)
    assert result.kind == "CLIP"
    assert (result.size, result.dimensions) == ((56, 56), 24)
    assert result.difference < 1e-5
    assert [Path(name).name for name in result.paths] == ["clip.onnx", "clip.text.onnx", "clip.tokenizer.json"]
    return path


def make_pixels(side: int, n: int = 11) -> np.ndarray:
    """Noise in different colors."""
    rng = np.random.default_rng(1)
    return (rng.random((n, 1, 1, 3)) * rng.integers(0, 256, (n, side, side, 3))).astype(np.uint8)


def assert_same_embeddings(own: np.ndarray, expected: np.ndarray) -> None:
    expected = expected / np.linalg.norm(expected, axis=1, keepdims=True)
    assert np.abs(own - expected).max() < 1e-4
    assert np.abs(own[0] - own[1]).max() > 1e-2  # otherwise anything agrees


def normalize(torch, pixels: np.ndarray, mean=PROCESSOR["image_mean"], std=PROCESSOR["image_std"]):
    return torch.tensor(((pixels / 255 - mean) / std).transpose(0, 3, 1, 2), dtype=torch.float32)


def test_dinov2_gives_torchs_embeddings(torch, dinov2, tmp_path):
    from transformers import Dinov2Model

    export_model(dinov2, tmp_path / "m.onnx")
    model, pixels = Model(str(tmp_path / "m.onnx")), make_pixels(56)
    assert (model.size, model.fit.center, model.fit.share) == ((56, 56), True, 0.875)
    with torch.no_grad():
        expected = Dinov2Model.from_pretrained(dinov2).eval()(normalize(torch, pixels)).pooler_output.numpy()
    assert_same_embeddings(model.embed(pixels), expected)


def test_sscd_gives_torchs_embeddings(torch, sscd, tmp_path, capfd):
    assert call("export-model", sscd, tmp_path / "m.onnx") == 0
    captured = capfd.readouterr()
    assert str(tmp_path / "m.onnx") in captured.out
    assert not captured.err
    model, pixels = Model(str(tmp_path / "m.onnx")), make_pixels(320, 3)
    assert (model.size, model.fit.center) == ((320, 320), False)
    with torch.no_grad():
        imagenet = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
        expected = torch.jit.load(sscd)(normalize(torch, pixels, *imagenet)).numpy()
    assert_same_embeddings(model.embed(pixels), expected)


def test_clip_gives_torchs_embeddings_of_images_and_texts(torch, clip, exported_clip, tmp_path):
    from transformers import AutoTokenizer, CLIPModel

    folder = tmp_path / "in"
    save_cloudy(folder, 4)
    run_inline(folder, tmp_path / "out", model=str(exported_clip), report=False)
    assert check(tmp_path / "out", folder) == []
    model, pixels = CLIPModel.from_pretrained(clip).eval(), make_pixels(56)
    tokenizer = AutoTokenizer.from_pretrained(clip)
    with torch.no_grad():
        images = model.visual_projection(model.vision_model(normalize(torch, pixels)).pooler_output).numpy()
        tokens = tokenizer("red car", return_tensors="pt").input_ids
        text = model.text_projection(model.text_model(tokens).pooler_output).numpy()[0]
    assert_same_embeddings(Model(str(exported_clip)).embed(pixels), images)
    names, features = load_binary_feature(tmp_path / "out")
    similarity = dict(zip(names, features @ (text / np.linalg.norm(text)), strict=True))
    found = RunResult.open(tmp_path / "out").search_text("red car").to_pydict()
    assert found["similarity"] == pytest.approx([similarity[name] for name in found["filename"]], abs=1e-4)
    assert found["similarity"] == sorted(found["similarity"], reverse=True)


def test_the_text_tower_names_the_files_that_it_belongs_to(exported_clip):
    import onnx

    props = {it.key: it.value for it in onnx.load(exported_clip.with_suffix(".text.onnx")).metadata_props}
    assert props == {
        "image_model_sha256": hashlib.sha256(exported_clip.read_bytes()).hexdigest(),
        "tokenizer_sha256": hashlib.sha256(exported_clip.with_suffix(".tokenizer.json").read_bytes()).hexdigest(),
    }


@pytest.mark.parametrize("suffix", [".onnx", ".text.onnx", ".tokenizer.json"])
def test_no_file_is_replaced_unasked(clip, suffix, tmp_path):
    own = (tmp_path / "m.onnx").with_suffix(suffix)
    own.write_bytes(b"mine")
    with pytest.raises(WorkDirError):
        export_model(clip, tmp_path / "m.onnx")
    assert [path.name for path in tmp_path.iterdir()] == [own.name]
    assert own.read_bytes() == b"mine"
    export_model(clip, tmp_path / "m.onnx", overwrite=True)
    assert len(list(tmp_path.iterdir())) == 3
    Model(str(tmp_path / "m.onnx"))


@pytest.mark.parametrize("content", [b"", b"no script", None])
def test_weights_that_cannot_be_loaded_are_one_line(torch, dinov2, content, tmp_path):
    if content is None:  # a folder without weights
        checkpoint = tmp_path / "folder"
        checkpoint.mkdir()
        for name in ("config.json", "preprocessor_config.json"):
            (checkpoint / name).write_bytes((dinov2 / name).read_bytes())
    else:
        checkpoint = tmp_path / "m.pt"
        checkpoint.write_bytes(content)
    with pytest.raises(InputError) as caught:
        export_model(checkpoint, tmp_path / "m.onnx")
    assert repr(str(checkpoint)) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "m.onnx").exists()


def test_a_script_that_gives_no_embeddings_is_refused(torch, tmp_path):
    with torch.no_grad():
        torch.jit.trace(torch.nn.Conv2d(3, 2, 3), torch.randn(1, 3, 320, 320)).save(tmp_path / "m.pt")
    with pytest.raises(InputError, match="one embedding for each image"):
        export_model(tmp_path / "m.pt", tmp_path / "m.onnx")
    assert not (tmp_path / "m.onnx").exists()


def test_a_file_that_differs_from_torch_is_not_written(torch, sscd, tmp_path, monkeypatch):
    monkeypatch.setattr("fastdup_ray.model_export.convert.TOLERANCE", -1.0)
    with pytest.raises(FastdupError, match="differs from torch"):
        export_model(sscd, tmp_path / "m.onnx")
    assert not (tmp_path / "m.onnx").exists()


# Without torch


@pytest.fixture
def script(tmp_path) -> Path:
    path = tmp_path / "m.pt"
    path.touch()
    return path


@pytest.mark.parametrize("name", ["m", "m.pt.zip", "-", "m.ONNX"])
def test_the_file_is_named_onnx(script, name):
    with pytest.raises(ConfigError, match="save_path"):
        export_model(script, name)


def test_a_missing_package_is_named_with_the_extra(script, tmp_path, monkeypatch):
    for name in [name for name in sys.modules if name.startswith("fastdup_ray.model_export.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(FastdupError, match=r"cannot be imported: pip install 'fastdup-ray\[export-model\]'"):
        export_model(script, tmp_path / "m.onnx")


@pytest.mark.parametrize("checkpoint", ["gone", "gone.pt", "."])
def test_a_checkpoint_that_is_none_is_refused(checkpoint, tmp_path, capsys):
    assert call("export-model", tmp_path / checkpoint, tmp_path / "m.onnx") == 1
    assert len(capsys.readouterr().err.splitlines()) == 1
    assert not list(tmp_path.iterdir())
