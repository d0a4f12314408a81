"""The user pages name every file, column, code and extension of the code, and no other."""

import dataclasses
import re
import tomllib
from pathlib import Path

import pytest

import fastdup_ray
from fastdup_ray import errors
from fastdup_ray.analysis.keepers import DEFAULT_RULES
from fastdup_ray.cli.group import COMMANDS
from fastdup_ray.cli.plan import plan
from fastdup_ray.common import csv_columns, layout
from fastdup_ray.common.path_lists import COLUMNS
from fastdup_ray.common.records import Unseen
from fastdup_ray.config import RunConfig
from fastdup_ray.curation.file_ops import LINK_KINDS
from fastdup_ray.errors import ErrorCode
from fastdup_ray.export import FORMATS
from fastdup_ray.extract.preprocessing import Preprocessing
from fastdup_ray.extract.transforms import TRANSFORMS
from fastdup_ray.inputs import sidecars, suffixes
from fastdup_ray.inputs.manifest import ENTRIES
from tests.docs.pages import ROOT

DOCS = Path(fastdup_ray.__file__).parent / "docs"


def text_of(page: str, heading: str = "") -> str:
    """Return a page, or the section below a heading of it, up to the next heading."""
    text = (DOCS / page).read_text(encoding="utf-8")
    return re.split(r"^#+ ", text.split(f"# {heading}\n", 1)[1], maxsplit=1, flags=re.MULTILINE)[0] if heading else text


def code_in(text: str) -> set[str]:
    return set(re.findall(r"`([^`\n]+)`", text))


def first_cells(text: str) -> set[str]:
    """Return what stands as code in the first column of the tables of a text."""
    rows = [line.split("|")[1] for line in text.splitlines() if line.startswith("|")]
    return {code for cell in rows for code in code_in(cell)}


def test_every_output_is_described():
    values = [value for value in vars(layout).values() if isinstance(value, str)]
    names = {value for value in values if "." in value and layout.is_output(value)}
    names = {name for name in names if not name.startswith(layout.SHARDS)} | {kind.file for kind in FORMATS.values()}
    names |= {layout.SCORED.name(name) for name in (layout.FEATURES, layout.MANIFEST, layout.SUMMARY, layout.REPORT)}
    assert len(names) > 30
    assert names <= code_in(text_of("outputs.md"))


@pytest.mark.parametrize("header", [name for name in vars(csv_columns) if name.endswith("_HEADER")])
def test_columns_are_those_of_the_code(header):
    assert ",".join(getattr(csv_columns, header)) in code_in(text_of("outputs.md"))


def test_the_columns_of_a_plan_are_described():
    assert first_cells(text_of("curation.md", "The plan file")) == set(csv_columns.PLAN_HEADER)


def test_the_columns_of_the_manifest_are_described():
    assert set(ENTRIES.names) <= code_in(text_of("outputs.md", "Parquet files"))


def test_codes_are_those_of_the_code():
    assert first_cells(text_of("outputs.md", "Unreadable files")) == {code.value for code in ErrorCode}
    assert first_cells(text_of("outputs.md", "Unseen content")) == {kind.value for kind in Unseen}


def test_every_command_is_a_feature():
    named = {code.split()[0] for code in code_in(text_of("features.md"))}
    assert {name for section in COMMANDS.values() for name in section} <= named


def test_every_extra_is_described():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = set(project["optional-dependencies"]) - {"test", "model"}  # those of developers
    assert extras <= first_cells(text_of("install.md"))


def test_the_keys_of_the_metadata_of_models_are_those_of_the_code():
    keys = {field.name for field in dataclasses.fields(Preprocessing)}
    assert first_cells(text_of("models.md", "Preprocessing")) == keys


def test_exit_codes_are_those_of_the_code():
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and hasattr(kind, "exit_code")]
    codes = {"0", "130", *(str(kind.exit_code) for kind in kinds)}
    assert set(re.findall(r"^\| (\d+) \|", text_of("runs.md", "Exit codes"), re.MULTILINE)) == codes


@pytest.mark.parametrize(
    ("kind", "known"),
    [
        ("images", suffixes.IMAGE_SUFFIXES),
        ("raw files", suffixes.READ_RAW_SUFFIXES),
        ("videos", suffixes.VIDEO_SUFFIXES),
        ("archives", suffixes.ARCHIVE_SUFFIXES),
    ],
)
def test_extensions_are_those_of_the_code(kind, known):
    (row,) = re.findall(rf"^\| {kind} \| (`\..*) \|$", text_of("inputs.md"), re.MULTILINE)
    assert code_in(row) == set(known)


def test_columns_of_lists_are_those_of_the_code():
    (sentence,) = re.findall(r"The paths are in the column (.*?)\. ", text_of("inputs.md"), re.DOTALL)
    assert code_in(sentence) == set(COLUMNS)


def test_extensions_of_sidecars_are_those_of_the_code():
    (sentence,) = re.findall(r"Sidecars are files with these extensions: (.*?), and", text_of("curation.md"), re.DOTALL)
    assert code_in(sentence) == sidecars.SIDECAR_SUFFIXES - suffixes.RAW_SUFFIXES


def test_choices_are_those_of_the_code():
    rules = first_cells(text_of("curation.md", "Which image is kept"))
    assert rules == {*DEFAULT_RULES.split(","), "path:GLOB"}
    assert first_cells(text_of("curation.md", "Plan: suggest what to drop")) > {f"--{plan.params[1].name} RULE,…"}
    assert {*LINK_KINDS} <= first_cells(text_of("curation.md", "Build a clean data set"))
    assert first_cells(text_of("curation.md", "Export for other tools")) == set(FORMATS)
    assert set(TRANSFORMS) <= code_in(text_of("search.md", "Mirrored and rotated images"))


def test_defaults_are_those_of_the_code():
    text = "".join(map(text_of, ("inputs.md", "runs.md", "search.md")))
    told = re.findall(r"^\| `(?:--)?([a-z_-]+)(?: [A-Z]+)?` \| ([\d.-]+)", text, re.MULTILINE)
    parameters = {name.replace("-", "_"): float(number) for name, number in told}
    assert len(parameters) > 10
    assert parameters == {name: float(RunConfig.model_fields[name].default) for name in parameters}
