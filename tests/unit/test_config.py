"""Every parameter: its name, default and bounds are the specification's, and a mistake is one clear line."""

import inspect
import json
import os
import re
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError

import fastdup_ray
from fastdup_ray import RunConfig
from fastdup_ray.errors import ConfigError
from fastdup_ray.parameter_types import MODELS

SPECIFICATION = {
    "input_dir": None,
    "work_dir": "fastdup_out",
    "compute": "cpu",
    "verbose": False,
    "num_threads": -1,
    "num_images": -1,
    "turi_param": "",
    "distance": "cosine",
    "threshold": 0.85,
    "lower_threshold": 0.3,
    "model_path": None,
    "version": False,
    "nearest_neighbors_k": 2,
    "run_mode": 0,
    "nn_provider": "faiss",
    "min_offset": None,
    "max_offset": None,
    "faiss_mode": None,
    "faiss_param": "",
    "bounding_box": None,
}
FURTHER = {
    "nnmodel": "brute_force",
    "ccthreshold": 0.96,
    "run_cc": True,
    "run_pagerank": True,
    "run_degree": True,
    "labels": None,
    "executor": "auto",
    "report": True,
    "reuse": True,
    "overwrite": False,
}


def of(**parameters) -> RunConfig:
    return RunConfig.of(**{"input_dir": "photos"} | parameters)


def refusal(**parameters) -> str:
    """The one line that says what is wrong with `parameter_types`."""
    with pytest.raises(ConfigError) as caught:
        of(**parameters)
    line = str(caught.value)
    assert "\n" not in line
    return line


# --- names and defaults -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "default"), (SPECIFICATION | FURTHER).items())
def test_a_parameter_has_the_default_of_the_specification(name, default):
    assert RunConfig.model_fields[name].default == default


def test_the_specifications_parameters_come_first_and_in_an_order_that_positional_calls_know():
    assert list(RunConfig.model_fields)[:2] == ["input_dir", "work_dir"]
    assert set(list(RunConfig.model_fields)[: len(SPECIFICATION)]) == set(SPECIFICATION)


def test_every_parameter_has_a_description():
    assert not [name for name, field in RunConfig.model_fields.items() if not field.description]


@pytest.mark.parametrize(("name", "without"), [("run", set()), ("deduplicate", {"version", "estimate"})])
def test_the_signature_is_the_configuration_in_plain_types(name, without):
    signature = inspect.signature(getattr(fastdup_ray, name))
    assert {name: parameter.default for name, parameter in signature.parameters.items()} == {
        name: field.default for name, field in RunConfig.model_fields.items() if name not in without
    }
    assert not re.search(r"Annotated|Field|Validator|\blist\[", str(signature))


@pytest.mark.parametrize(
    ("name", "plain"),
    [
        ("threshold", "float"),
        ("run_cc", "bool"),
        ("min_offset", "int | None"),
        ("work_dir", "str | os.PathLike[str]"),
        ("distance", "Literal['cosine', 'euclidean', 'squared_euclidean', 'manhattan']"),
        ("include", "collections.abc.Iterable[str]"),
    ],
)
def test_a_parameter_has_the_type_that_a_caller_would_write(name, plain):
    annotation = inspect.signature(fastdup_ray.run).parameters[name].annotation
    assert inspect.formatannotation(annotation) == plain


@pytest.mark.parametrize("function", [fastdup_ray.run, fastdup_ray.deduplicate])
def test_the_docstring_names_every_parameter(function):
    assert not [name for name in inspect.signature(function).parameters if f"        {name}: " not in function.__doc__]


def test_a_configuration_is_json():
    assert json.loads(json.dumps(of(turi_param="run_cc=0").model_dump()))["run_cc"] is False


def test_a_configuration_does_not_change():
    with pytest.raises(ValidationError):
        of().threshold = 0.5


# --- mistakes ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wrong", "meant"),
    [("treshold", "threshold"), ("workdir", "work_dir"), ("nearest_neighbours_k", "nearest_neighbors_k")],
)
def test_an_unknown_name_is_refused_with_the_one_that_was_meant(wrong, meant):
    line = refusal(**{wrong: 1})
    assert repr(wrong) in line
    assert f"Did you mean {meant}?" in line


def test_an_unknown_name_like_no_other_is_one_short_line():
    line = refusal(xyzzy=1)
    assert "'xyzzy'" in line
    assert "Did you mean" not in line
    assert not any(name in line for name in SPECIFICATION)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("work_dir", ""),
        ("work_dir", 3),
        ("work_dir", None),
        ("input_dir", 7),
        ("input_dir", [7]),
        ("compute", "tpu"),
        ("verbose", "yes"),
        ("verbose", 2),
        ("num_threads", -2),
        ("num_threads", 1.5),
        ("num_threads", "2"),
        ("num_images", -2),
        ("num_images", True),
        ("turi_param", 5),
        ("distance", "hamming"),
        ("threshold", 1.01),
        ("threshold", -0.1),
        ("threshold", float("nan")),
        ("threshold", "0.9"),
        ("threshold", None),
        ("lower_threshold", 2),
        ("lower_threshold", float("inf")),
        ("ccthreshold", 1.5),
        ("model_path", ""),
        ("model", ""),
        ("model", "faster"),
        ("model", 7),
        ("bounding_box", "rows"),
        ("bounding_box", "rows=1"),
        ("bounding_box", "rows=1,cols=1,width=9"),
        ("bounding_box", "rows=1,cols=1,width=9,height=9,depth=9"),
        ("bounding_box", "rows=-1,cols=1,width=9,height=9"),
        ("bounding_box", "rows=1.5,cols=1,width=9,height=9"),
        ("bounding_box", "rows=1,cols=1,width=1,height=9"),
        ("bounding_box", "rows=1,cols=1,width=9,height=0"),
        ("bounding_box", [1, 1, 9, 9]),
        ("version", "no"),
        ("nearest_neighbors_k", 0),
        ("nearest_neighbors_k", -1),
        ("nearest_neighbors_k", 2.5),
        ("run_mode", 5),
        ("run_mode", -1),
        ("run_mode", "0"),
        ("nn_provider", "annoy"),
        ("min_offset", -2),
        ("max_offset", "x"),
        ("faiss_mode", 32),
        ("nnmodel", 3),
        ("nnmodel", "kd_tree"),
        ("run_cc", 2),
        ("executor", "dask"),
        ("shard_size", 0),
        ("num_actors", 0),
        ("max_pixels", 0),
        ("image_timeout", 0),
        ("image_timeout", -1.0),
        ("report", "maybe"),
    ],
)
def test_a_value_that_is_not_possible_is_one_line_with_name_and_value_and_nothing_is_written(
    name, value, tmp_path, monkeypatch, capsys, photos
):
    monkeypatch.chdir(tmp_path)
    line = refusal(**{name: value})
    assert line.startswith(f"Invalid value for {name}: ")
    assert repr(value) in line or str(value) in line

    assert fastdup_ray.run(**{"input_dir": str(photos), "work_dir": "out"} | {name: value}) == 1
    told = capsys.readouterr()
    assert told.err == f"fastdup_ray: {line}\n"
    assert told.out == ""
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "allowed"),
    [
        ("compute", ["cpu", "gpu"]),
        ("distance", ["cosine", "euclidean", "squared_euclidean", "manhattan"]),
        ("nn_provider", ["faiss", "turi"]),
        ("nnmodel", ["brute_force", "ball_tree", "lsh"]),
        ("run_mode", ["4"]),
        ("threshold", ["1"]),
        ("nearest_neighbors_k", ["1"]),
    ],
)
def test_a_value_out_of_range_is_told_what_is_allowed(name, allowed):
    line = refusal(**{name: 77 if name in ("threshold", "run_mode") else 0 if name.endswith("_k") else "nonsense"})
    assert all(choice in line for choice in allowed)


def test_without_an_input_there_is_nothing_to_run_on():
    assert "input_dir" in refusal(input_dir=None)


def test_version_needs_no_input():
    assert RunConfig.of(version=True).version


@pytest.mark.parametrize(("low", "high"), [(5, 5), (6, 5), (0, 0)])
def test_offsets_that_leave_nothing_are_refused(low, high):
    line = refusal(min_offset=low, max_offset=high)
    assert line.startswith(f"Invalid value for min_offset: {low} ")
    assert f"max_offset={high}" in line


def test_a_file_is_no_work_dir(tmp_path):
    file = tmp_path / "file"
    file.touch()
    assert str(file) in refusal(work_dir=str(file))


# --- what means the same ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "keywords"),
    [
        ("ccthreshold=0.9", {"ccthreshold": 0.9}),
        ("run_cc=0", {"run_cc": False}),
        ("run_cc=1", {"run_cc": True}),
        ("nnmodel=0,ccthreshold=0.9,run_cc=1", {"nnmodel": "brute_force", "ccthreshold": 0.9, "run_cc": True}),
        ("nnmodel=brute_force", {"nnmodel": "brute_force"}),
        (" run_pagerank = 0 , run_degree=0, ", {"run_pagerank": False, "run_degree": False}),
        ("", {}),
    ],
)
def test_turi_param_means_the_same_as_keywords(text, keywords):
    by_text, by_keywords = of(turi_param=text).model_dump(), of(**keywords).model_dump()
    assert by_text | {"turi_param": ""} == by_keywords


@pytest.mark.parametrize(
    ("keyword", "text"),
    [({"ccthreshold": 0.9}, "ccthreshold=0.90"), ({"run_cc": 0}, "run_cc=0"), ({"nnmodel": 0}, "nnmodel=brute_force")],
)
def test_the_same_said_twice_is_no_contradiction(keyword, text):
    of(**keyword, turi_param=text)


@pytest.mark.parametrize(
    ("parameters", "name"),
    [
        ({"ccthreshold": 0.9, "turi_param": "ccthreshold=0.8"}, "ccthreshold"),
        ({"run_cc": True, "turi_param": "run_cc=0"}, "run_cc"),
        ({"nnmodel": "lsh", "turi_param": "nnmodel=0"}, "nnmodel"),
        ({"turi_param": "run_cc=0,run_cc=1"}, "run_cc"),
    ],
)
def test_two_values_for_one_name_are_refused(parameters, name):
    line = refusal(**parameters)
    assert name in line
    assert "twice" in line


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("threshold=0.9", "'threshold'"),
        ("ccthreshold", "'ccthreshold'"),
        ("ccthreshold=", "'ccthreshold='"),
        ("ccthreshold=2", "ccthreshold"),
        ("ccthreshold=high", "ccthreshold"),
        ("run_cc=2", "run_cc"),
        ("nnmodel=3", "nnmodel"),
    ],
)
def test_a_mistake_in_turi_param_is_told(text, told):
    line = refusal(turi_param=text)
    assert line.startswith("Invalid value for turi_param: ")
    assert told in line


@pytest.mark.parametrize(("value", "meaning"), [(0, "brute_force"), ("0", "brute_force")])
def test_nnmodel_is_a_number_too(value, meaning):
    assert of(nnmodel=value).nnmodel == meaning


@pytest.mark.parametrize("spelling", ["HNSW32", "HSNW32"])
def test_the_specifications_spelling_of_hnsw_works(spelling):
    assert of(faiss_mode=spelling).faiss_mode == "HNSW32"


@pytest.mark.parametrize("name", ["min_offset", "max_offset"])
def test_minus_one_is_an_offset_not_given(name):
    assert getattr(of(**{name: -1}), name) is None


@pytest.mark.parametrize("value", [0, 1, True, False])
def test_a_switch_is_a_number_or_a_boolean(value):
    assert of(run_cc=value).run_cc is bool(value)


@pytest.mark.parametrize(
    ("name", "value", "meaning"),
    [
        ("threshold", np.float32(0.5), 0.5),
        ("threshold", np.array(0.5), 0.5),
        ("threshold", Decimal("0.5"), 0.5),
        ("threshold", Fraction(1, 2), 0.5),
        ("threshold", 1, 1.0),
        ("nearest_neighbors_k", np.uint8(3), 3),
        ("nearest_neighbors_k", 3.0, 3),
        ("num_images", 1e6, 1_000_000),
        ("num_images", np.int64(-1), -1),
        ("min_offset", np.int32(7), 7),
        ("run_cc", np.False_, False),
        ("run_cc", np.int64(1), True),
        ("nnmodel", np.int64(1), "ball_tree"),
    ],
)
def test_a_number_may_be_of_any_kind(name, value, meaning):
    parsed = getattr(of(**{name: value}), name)
    assert parsed == meaning
    assert type(parsed) is type(meaning)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("input_dir", [*range(100_000)]),
        ("input_dir", np.arange(100_000)),
        ("input_dir", pd.Series(["a.jpg"] * 100_000 + [None])),
        ("input_dir", pd.DataFrame({f"column{number}": [1] for number in range(1000)})),
        ("work_dir", pd.Series(["a.jpg"] * 100_000)),
        ("reference", [*range(100_000)]),
        ("threshold", np.zeros(100_000)),
        ("distance", "x" * 100_000),
        ("run_cc", ["x"] * 100_000),
    ],
)
def test_a_message_stays_short_whatever_was_passed(name, value):
    line = refusal(**{name: value})
    assert line.startswith(f"Invalid value for {name}: ")
    assert len(line) < 400


@pytest.mark.parametrize("nothing", [[], pd.Series([], dtype=str), iter(())])
def test_no_paths_are_no_input(nothing):
    assert refusal(input_dir=nothing).startswith("Invalid value for input_dir: ")


@pytest.mark.parametrize("name", ["input_dir", "work_dir"])
def test_the_home_folder_is_expanded(name, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert getattr(of(**{name: "~/here"}), name) == str(tmp_path / "here")


def test_the_home_folder_is_expanded_in_a_list(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert of(input_dir=["~/a", Path("~/b")]).inputs == [str(tmp_path / "a"), str(tmp_path / "b")]


@pytest.mark.parametrize("name", ["input_dir", "work_dir"])
def test_a_path_object_is_a_path(name):
    assert getattr(of(**{name: Path("some") / "where"}), name) == os.path.join("some", "where")


@pytest.mark.parametrize(
    ("name", "word", "value"),
    [
        ("threshold", "0.9", 0.9),
        ("nearest_neighbors_k", "5", 5),
        ("run_cc", "0", False),
        ("verbose", "1", True),
        ("run_mode", "0", 0),
        ("num_images", "-1", -1),
        ("max_offset", "-1", None),
        ("nnmodel", "0", "brute_force"),
    ],
)
def test_words_of_a_command_line_are_read_as_what_they_name(name, word, value):
    assert getattr(RunConfig.from_text({"input_dir": "photos", name: word}), name) == value


@pytest.mark.parametrize(("name", "word"), [("threshold", "high"), ("nearest_neighbors_k", "2.5"), ("run_cc", "2")])
def test_words_that_name_nothing_possible_are_refused(name, word):
    with pytest.raises(ConfigError, match=rf"^Invalid value for {name}: {re.escape(word)} "):
        RunConfig.from_text({"input_dir": "photos", name: word})


def test_a_bounding_box_has_one_spelling():
    for text in ("rows=1,cols=2,width=3,height=4", " height=4, width = 3,rows=01,cols=2,"):
        config = RunConfig.of(input_dir="photos", bounding_box=text)
        assert config.bounding_box == "rows=1,cols=2,width=3,height=4"
        assert config.limits.box == (1, 2, 3, 4)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("1,1,9,9", "'1' (must be of the form name=value)"),
        ("rows=1,cols=1,width=9,height=9,height=8", "'height' is given twice"),
    ],
)
def test_a_bounding_box_of_another_form_is_refused(text, reason):
    line = refusal(bounding_box=text)
    assert line.startswith("Invalid value for bounding_box: ")
    assert reason in line


@pytest.mark.parametrize("nothing", [None, ""])
def test_no_bounding_box_is_none(nothing):
    config = RunConfig.of(input_dir="photos", bounding_box=nothing)
    assert config.bounding_box is None
    assert config.limits.box is None


@pytest.mark.parametrize("parameters", [{"run_cc": [1]}, {"verbose": {}}, {"input_dir": []}])
def test_whatever_python_can_pass_is_refused_with_one_line(parameters):
    with pytest.raises(ConfigError, match=next(iter(parameters))):
        RunConfig.of(**{"input_dir": "photos"} | parameters)


def test_a_model_has_a_name_or_a_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "extensionless").touch()
    paths = ["m.onnx", "folder/m", "./default", "M.ONNX", "extensionless", str(tmp_path / "m")]
    assert [of(model=path).model_path for path in paths] == [str(tmp_path / path) for path in paths]
    assert of(model=Path("m.onnx")) == of(model_path="m.onnx")
    assert of(model="default") == of()
    assert of(model="fast").model_path == "fast"
    assert of(model_path="fast").model_path == str(tmp_path / "fast")
    assert RunConfig.from_text({"input_dir": "photos", "model": "default"}) == of()


def test_an_unknown_name_of_a_model_is_refused_with_those_that_exist(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    message = refusal(model="defualt")
    assert "model: 'defualt'" in message
    assert all(name in message for name in MODELS)


def test_a_model_has_one_value():
    message = refusal(model="default", model_path="/m.onnx")
    assert "model='default' and model_path='/m.onnx'" in message
