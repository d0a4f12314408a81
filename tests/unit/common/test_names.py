"""Names of any bytes, through lists, every CSV, parquet, gallery and report, and back in."""

import csv
import io
import os
import re
import tempfile
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fastdup_ray import RunConfig
from fastdup_ray.common.csv_columns import FEATURES_HEADER
from fastdup_ray.common.events import print_lines
from fastdup_ray.common.names import escape_invisible
from fastdup_ray.inputs import list_images
from fastdup_ray.storage import open_store
from fastdup_ray.storage.csv_files import write_csv
from fastdup_ray.storage.tables import encode_names
from tests.helpers.images import cloudy, encode
from tests.helpers.names import HARD, name_bytes, paths_in


@given(st.lists(name_bytes, min_size=1, unique=True))
@example(HARD)
def test_a_csv_of_ours_is_a_list_of_the_same_names(names):
    with tempfile.TemporaryDirectory() as scratch:
        paths = paths_in(Path("/nowhere"), names)
        store = open_store(scratch)
        write_csv(store, "list.csv", FEATURES_HEADER, [encode_names(map(str, range(len(paths)))), encode_names(paths)])
        assert [ref.uri for ref in list_images(RunConfig.of(input_dir=f"{scratch}/list.csv"))] == paths


@given(st.lists(name_bytes, min_size=1, unique=True))
@example(HARD)
def test_a_csv_by_pythons_csv_module_is_a_list_of_the_same_names(names):
    with tempfile.TemporaryDirectory() as scratch:
        paths = paths_in(Path("/nowhere"), names)
        text = io.StringIO(newline="")
        csv.writer(text).writerows([["label", "filename"], *(["x", path] for path in paths)])
        (Path(scratch) / "list").write_bytes(text.getvalue().encode("utf-8", "surrogateescape"))
        assert [ref.uri for ref in list_images(RunConfig.of(input_dir=f"{scratch}/list"))] == paths


@given(st.lists(name_bytes.filter(lambda name: not {*b"\r\n"} & {*name}), min_size=1, unique=True))
@example([name for name in HARD if b"\n" not in name and b"\r" not in name])
def test_a_plain_list_keeps_every_name_that_is_one_line(names):
    with tempfile.TemporaryDirectory() as scratch:
        paths = paths_in(Path("/nowhere"), names)
        (Path(scratch) / "list").write_bytes(b"".join(os.fsencode(path) + b"\n" for path in paths))
        assert [ref.uri for ref in list_images(RunConfig.of(input_dir=f"{scratch}/list"))] == paths


@pytest.mark.parametrize("name", HARD, ids=ascii)
def test_a_single_picture_of_any_name_is_an_input(tmp_path, name):
    path = os.path.join(str(tmp_path), os.fsdecode(name))
    with open(path, "wb") as file:
        file.write(encode(cloudy(0), "JPEG"))
    assert [ref.uri for ref in list_images(RunConfig.of(input_dir=path))] == [path]


INVISIBLE = "\u202e\u200b\u2028\u2066\u00ad\ufeff\u3164\u2800\ufe0f\U000e0041\n\x1b\x85"


def test_invisible_characters_are_shown_as_escapes_and_all_others_as_they_are():
    assert escape_invisible("a" + INVISIBLE + "b").isascii()
    assert not re.search(r"[\x00-\x1f]", escape_invisible(INVISIBLE))
    assert escape_invisible("a\u202egpj.exe") == r"a\u202egpj.exe"
    assert escape_invisible("\U000e0041") == r"\U000e0041"
    assert escape_invisible(os.fsdecode(b"\xff \\n")) == r"\xff \n"
    shown = "ü 絵 \U0001f600 e\u0301 \u0645\u0631 \u05d0 — ×\u00a0\u202f=\\"
    assert escape_invisible(shown) == shown


def test_what_a_command_prints_hides_no_character(capsys):
    print_lines(f"two lines\n{INVISIBLE.replace(chr(10), '')}")
    first, second, end = capsys.readouterr().out.split("\n")
    assert (first, end) == ("two lines", "")
    assert second.isascii()
    assert second.isprintable()
