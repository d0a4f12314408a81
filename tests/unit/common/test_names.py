"""Names of any bytes, through lists, every CSV, parquet, gallery and report, and back in."""

import csv
import io
import os
import re
import tempfile
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fastdup_ray import RunConfig, create_duplicates_gallery, load_binary_feature
from fastdup_ray.common.events import print_lines
from fastdup_ray.common.layout import FEATURES_HEADER
from fastdup_ray.common.names import escape_invisible
from fastdup_ray.inputs import list_images
from fastdup_ray.storage import open_store
from fastdup_ray.storage.tables import encode_names, write_csv
from tests.checker import check
from tests.helpers.commands import call
from tests.helpers.images import cloudy, encode
from tests.helpers.runs import csv_rows, run_inline

HARD = [
    b"with space.jpg",
    b" leading.jpg",
    b"trailing .jpg",
    b"a,b.jpg",
    b'say "hi".jpg',
    b'"quoted".jpg',
    b"two\nlines.jpg",
    b"carriage\r.jpg",
    b"crlf\r\n.jpg",
    b"-dash.jpg",
    b"--work-dir.jpg",
    b"caf\xe9.jpg",
    b"\xff\xfe\x80.jpg",
    "emoji \U0001f600.jpg".encode(),
    "combining e\u0301.jpg".encode(),
    "\u202egnp.exe.jpg".encode(),
    b"x" * 251 + b".jpg",
    b"\x01\x1b[31m\x7f.jpg",
    b"#hash.jpg",
    b"a#t=1.000.jpg",
    b"bang!.jpg",
    b"100%41.jpg",
    b"file:x.jpg",
    b"<script>alert(1)</script>.jpg".replace(b"/", b"_"),
    b"&amp;.jpg",
    b"back\\slash \\xe9.jpg",
    b"tab\t;'`$(x)*?[.jpg",
    b"=cmd().jpg",
    "\ufefffilename.jpg".encode(),
]

name_bytes = st.binary(min_size=1, max_size=60).map(
    lambda data: data.replace(b"/", b"_").replace(b"\0", b"0").lstrip(b".") + b".jpg"
)


def paths_in(folder: Path, names: list[bytes]) -> list[str]:
    return sorted((os.path.join(str(folder), os.fsdecode(name)) for name in set(names)), key=os.fsencode)


@settings(max_examples=1)
@given(st.lists(name_bytes, min_size=12, max_size=12, unique=True))
def test_files_of_any_name_go_through_a_whole_run_and_back_in(generated):
    with tempfile.TemporaryDirectory() as scratch:
        folder, out = Path(scratch) / "in", Path(scratch) / "out"
        folder.mkdir()
        paths = paths_in(folder, HARD + generated)
        data = [encode(cloudy(seed), "JPEG") for seed in range(4)]
        for number, path in enumerate(paths):
            with open(path, "wb") as file:
                file.write(data[number % len(data)] if number % 7 else b"broken")
        good = [path for number, path in enumerate(paths) if number % 7]
        run_inline(folder, out)
        assert check(out, folder) == []
        assert load_binary_feature(out / "features.dat")[0] == good
        assert [row[0] for row in csv_rows(out / "features.bad.csv")[1:]] == [p for p in paths if p not in good]
        known = {os.fsencode(path) for path in good}
        for name in ("similarity.csv", "outliers.csv"):
            ends = {os.fsencode(end) for row in csv_rows(out / name)[1:] for end in row[:2]}
            assert ends <= known
        assert len(csv_rows(out / "similarity.csv")) > len(good)
        shown = [os.fsencode(path).decode("utf-8", "backslashreplace") for path in good]
        assert pq.read_table(out / "images.parquet")["filename"].to_pylist() == shown
        page = Path(create_duplicates_gallery(out / "similarity.csv", num_images=1000)).read_text()
        for text in (page, (out / "report" / "index.html").read_text()):
            assert "<script>alert" not in text
            assert "does not exist" not in text
        uris = [ref.uri for ref in list_images(RunConfig.of(input_dir=out / "features.dat.csv"))]
        assert uris == good


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


@pytest.mark.parametrize("stream", ["out", "err"])
def test_messages_of_the_command_show_what_a_name_hides(stream, tmp_path, capsys):
    work_dir = tmp_path / "out\u202etuo"
    if stream == "out":
        run_inline_of_two(tmp_path, work_dir)
        assert call("plan", work_dir) == 0
    else:
        assert call("plan", work_dir) == 1
    told = getattr(capsys.readouterr(), stream)
    assert "\u202e" not in told
    assert r"out\u202etuo" in told


def run_inline_of_two(folder: Path, work_dir: Path) -> None:
    photos = folder / "photos"
    photos.mkdir()
    for name in ("a.png", "b.png"):
        (photos / name).write_bytes(encode(cloudy(1), "PNG"))
    run_inline(photos, work_dir)
