"""Search by text, in runs by a model with a text tower."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto
from PIL import Image

from fastdup_ray import RunResult
from fastdup_ray.errors import ConfigError, FastdupError, InputError
from fastdup_ray.extract.text_model import make_text_paths
from tests.helpers.commands import call
from tests.helpers.models import COLORS, TOKENS, WEIGHTS, save_model, save_text_model
from tests.helpers.runs import PHOTOS, run_inline

pytest.importorskip("tokenizers")

RED, GREEN, BLUE = (250, 8, 4), (6, 240, 10), (10, 20, 230)
YELLOW = (240, 245, 3)
COLOR_OF = {"red.png": RED, "green.png": GREEN, "blue.png": BLUE, "yellow.png": YELLOW}


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> str:
    path = save_model(tmp_path_factory.mktemp("model") / "colors.onnx", metadata={"mean": "0", "std": "1"})
    save_text_model(path)
    return path


@pytest.fixture(scope="module")
def out(model, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("text")
    (folder / "in").mkdir()
    for name, color in COLOR_OF.items():
        Image.new("RGB", (60, 40), color).save(folder / "in" / name)
    run_inline(folder / "in", folder / "out", model=model, report=False)
    return folder / "out"


@pytest.fixture
def own(out, model) -> Iterator[tuple[RunResult, str]]:
    """A run whose text tower a test may change; it is made again afterwards."""
    yield RunResult.open(out), model
    for path in map(Path, make_text_paths(model)):
        if path.is_dir():
            path.rmdir()
    save_text_model(model)


def names_of(table) -> list[str]:
    return [Path(name).name for name in table["filename"].to_pylist()]


@pytest.mark.parametrize(
    ("text", "first"),
    [("red", "red.png"), ("of blue", "blue.png"), ("green green", "green.png"), ("red green", "yellow.png")],
)
def test_the_images_that_a_text_describes_come_first(text, first, out):
    found = RunResult.open(out).search_text(text)
    assert found.column_names == ["filename", "similarity"]
    assert len(found) == len(COLOR_OF)
    assert names_of(found)[0] == first
    similarity = found["similarity"].to_pylist()
    assert similarity == sorted(similarity, reverse=True)


def test_the_similarity_is_the_cosine_of_the_embeddings_of_text_and_image(out):
    text = WEIGHTS[0] / np.linalg.norm(WEIGHTS[0])
    image = np.array(RED) @ WEIGHTS
    found = RunResult.open(out).search_text("red", k=1)
    assert found["similarity"][0].as_py() == pytest.approx(text @ (image / np.linalg.norm(image)), abs=1e-5)


def test_the_command_prints_the_same(out, capsys):
    expected = RunResult.open(out).search_text("red", k=2)
    assert call("search", out, "--text", "red", "-k", 2, "--json") == 0
    assert json.loads(capsys.readouterr().out) == expected.to_pylist()
    assert call("search", out, "--text", "red", "-k", 2) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("  ")[1] for line in lines] == expected["filename"].to_pylist()


@pytest.mark.parametrize(
    "arguments",
    [(), ("image.png", "--text", "red"), ("--text", "red", "--verify"), ("--text", ""), ("--text", "red", "-k", 0)],
)
def test_other_questions_are_refused(arguments, out, capsys):
    assert call("search", out, *arguments) == 2
    captured = capsys.readouterr()
    assert not captured.out
    assert "Traceback" not in captured.err


@pytest.mark.parametrize("text", ["", "  ", None, b"red", " ".join(["red"] * (TOKENS + 1))])
def test_a_text_that_is_none_or_too_long_is_refused(text, out):
    with pytest.raises(ConfigError, match="Invalid value for text"):
        RunResult.open(out).search_text(text)


def test_a_text_without_an_embedding_is_refused(out):
    with pytest.raises(InputError, match="no embedding"):
        RunResult.open(out).search_text("of")


def test_the_embedded_model_has_no_text_tower(finished):
    with pytest.raises(InputError, match="no text tower"):
        RunResult.open(finished).search_text("red")


def test_the_fast_model_has_no_text_tower(tmp_path):
    result = run_inline(PHOTOS, tmp_path / "out", model="fast", report=False)
    with pytest.raises(InputError, match="no text tower"):
        result.search_text("red")


def test_a_model_without_a_text_tower_says_which_file_is_missing(own):
    result, path = own
    missing = Path(path.replace(".onnx", ".text.onnx"))
    missing.unlink()
    with pytest.raises(InputError) as caught:
        result.search_text("red")
    assert repr(str(missing)) in str(caught.value)


@pytest.mark.parametrize(
    "change",
    [
        {"weights": WEIGHTS[:, :30]},
        {"kind": TensorProto.INT32},
        {"inputs": 2},
        {"metadata": {"image_model_sha256": "0" * 64}},
        {"metadata": {"tokenizer_sha256": "0" * 64}},
    ],
)
def test_a_text_tower_that_does_not_fit_is_refused_in_one_line(change, own):
    result, path = own
    save_text_model(path, **change)
    with pytest.raises(ConfigError) as caught:
        result.search_text("red")
    assert "colors.text.onnx" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("file", ["colors.text.onnx", "colors.tokenizer.json"])
@pytest.mark.parametrize("content", [b"", b"{}", None])
def test_a_damaged_file_of_the_text_tower_is_named(file, content, own):
    result, path = own
    save_text_model(path, metadata={})
    damaged = Path(path).with_name(file)
    damaged.unlink()
    if content is None:
        damaged.mkdir()
    else:
        damaged.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        result.search_text("red")
    assert file in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_word_that_the_tokenizer_has_and_the_model_has_not_is_one_line(own):
    result, path = own
    save_text_model(path, metadata={})
    tokenizer = Path(path.replace(".onnx", ".tokenizer.json"))
    content = json.loads(tokenizer.read_text())
    content["model"]["vocab"]["red"] = len(COLORS) + 5
    tokenizer.write_text(json.dumps(content))
    with pytest.raises(ConfigError, match="it fails on 'red'"):
        result.search_text("red")


def test_without_the_package_the_extra_is_named(out, monkeypatch):
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(FastdupError, match=r"fastdup-ray\[text\]"):
        RunResult.open(out).search_text("red")
