"""Lists as other programs write them: encodings, separators, columns, quotes, URIs; and what is no list at all."""

import gzip
import io
import json
import os
import pickle
import shutil
import subprocess
import sys
import threading
import zipfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fastdup_ray import RunConfig
from fastdup_ray.common.path_lists import COLUMNS
from fastdup_ray.errors import InputError
from fastdup_ray.inputs import check_inputs, list_images
from fastdup_ray.inputs.list_format import HEAD
from fastdup_ray.runs.preflight import list_manifest as listed_or_refused
from tests.helpers.images import cloudy, encode
from tests.helpers.runs import deadline

PLAIN = ("1.jpg", "zwei (2).jpg", "drei.png")
ODD = (
    "a, b.jpg",
    "c; d.jpg",
    "tab\there.jpg",
    "pipe|.jpg",
    "ends in space ",
    " begins so",
    '"quoted"',
    "it's",
    "back\\slash",
)


@pytest.fixture
def images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder, the current one, with a file for each name in `PLAIN`."""
    folder = tmp_path / "images"
    make(folder, PLAIN)
    monkeypatch.chdir(folder)
    return folder


def make(folder: Path, names: tuple[str | bytes, ...]) -> list[str]:
    """Their paths; what is in the files is no list."""
    folder.mkdir(exist_ok=True)
    paths = [os.path.join(os.fsencode(folder), os.fsencode(name)) for name in names]
    for path in paths:
        Path(os.fsdecode(path)).write_bytes(b"\xff\xd8\xff\0\0")
    return [os.fsdecode(path) for path in paths]


def write(folder: Path, content: str | bytes, name: str = "list") -> Path:
    path = folder.parent / name
    path.write_bytes(content if isinstance(content, bytes) else os.fsencode(content))
    return path


def listed(path: object) -> list[str]:
    with deadline(20):
        return [ref.uri for ref in list_images(RunConfig.of(input_dir=path))]


def names(path: object, folder: Path) -> list[str]:
    return [os.path.relpath(uri, folder) for uri in listed(path)]


def refusal(path: Path) -> str:
    with pytest.raises(InputError) as caught:
        listed(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)
    return str(caught.value)


def table(folder: Path, header: str, delimiter: str, end: str = "\n") -> str:
    rows = [delimiter.join(["id", header]), *(f"{n}{delimiter}{folder / name}" for n, name in enumerate(PLAIN))]
    return "".join(row + end for row in rows)


# --- how lists are written --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"]
)
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("kind", ["plain", "table"])
def test_any_unicode_and_any_line_end_is_read(images, encoding, end, kind):
    more = make(images, ("größe.jpg", "图片.jpg"))
    paths = [*(str(images / name) for name in PLAIN), *more]
    rows = paths if kind == "plain" else ["label;Filename", *(f"x;{path}" for path in paths)]
    assert listed(write(images, end.join([*rows, ""]).encode(encoding))) == paths
    assert listed(write(images, end.join(rows).encode(encoding))) == paths


@pytest.mark.parametrize("mark", [b"\xff\xfe", b"\xfe\xff"])
def test_the_mark_of_utf16_says_the_order_of_its_bytes(images, mark):
    encoding = "utf-16-le" if mark == b"\xff\xfe" else "utf-16-be"
    assert names(write(images, mark + "\n".join(PLAIN).encode(encoding)), images) == list(PLAIN)


@pytest.mark.parametrize("delimiter", list(",;\t|"))
@pytest.mark.parametrize(
    "header", ["filename", "Filename", "FILE_NAME", "file path", "Path", "image", "img_path", "URI"]
)
def test_a_table_has_any_separator_and_any_usual_header(images, delimiter, header):
    assert names(write(images, table(images, header, delimiter)), images) == list(PLAIN)
    quoted = table(images, f'"{header}"', delimiter).replace("id", '"id"')
    assert names(write(images, "\ufeff" + quoted), images) == list(PLAIN)


@pytest.mark.parametrize("header", [*COLUMNS, "SourceFile", "Image Path"])
def test_a_header_alone_in_its_row_is_no_entry(images, header):
    assert names(write(images, "\n".join([header, *PLAIN])), images) == list(PLAIN)


@pytest.mark.parametrize(
    "header", ["sep=;\nlabel;filename", "# made by a tool\n#\n\nlabel;filename", "\n\nlabel;filename"]
)
def test_what_stands_before_a_header_is_skipped(images, header):
    rows = [header, *(f"x;{name}" for name in PLAIN)]
    assert names(write(images, "\n".join(rows)), images) == list(PLAIN)


def test_of_several_columns_the_one_whose_files_exist_is_taken(images):
    rows = ["filename,path", *(f"{name},sub/../{name}" for name in PLAIN)]
    assert names(write(images, "\n".join(rows)), images) == list(PLAIN)
    rows = ["filename,full path", *(f"gone/{name},{images / name}" for name in PLAIN)]
    assert names(write(images, "\n".join(rows)), images) == list(PLAIN)
    rows = ["path,filename", *(f"a/{n},b/{n}" for n in range(3))]
    assert names(write(images, "\n".join(rows)), images) == [f"b/{n}" for n in range(3)]


@pytest.mark.parametrize("delimiter", list(",;\t|"))
def test_a_table_without_a_header_is_known_by_the_files_that_exist(images, delimiter):
    rows = [delimiter.join((f"{n}", name, "cat")) for n, name in enumerate([*PLAIN, "gone.jpg"])]
    assert names(write(images, "\n".join(rows)), images) == [*PLAIN, "gone.jpg"]
    assert names(write(images, "\n".join(reversed(rows))), images) == ["gone.jpg", *reversed(PLAIN)]
    rows = [delimiter.join(("number", "photo", "label")), *rows]
    assert names(write(images, "\n".join(rows)), images) == [*PLAIN, "gone.jpg"]


@pytest.mark.parametrize("name", ODD)
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_line_that_exists_as_a_whole_is_that_file(images, name, end):
    make(images, (name, "a", "b", "c.jpg"))
    assert names(write(images, end.join([name, name[:-1] + "?", *PLAIN, ""])), images)[0] == name
    assert set(PLAIN) <= set(names(write(images, end.join([*PLAIN, name])), images))
    assert name in names(write(images, end.join([*PLAIN, name])), images)


def test_a_list_of_names_with_commas_is_no_table(images):
    make(images, ("cat, sleeping.jpg", "dog, awake.jpg"))
    rows = ["gone, too.jpg", "cat, sleeping.jpg", "dog, awake.jpg"]
    assert names(write(images, "\n".join(rows)), images) == rows
    assert names(write(images, "filename\n" + "\n".join(rows)), images) == rows


def test_labels_behind_a_blank_are_no_part_of_the_names(images):
    """As in the lists of ImageNet."""
    assert names(write(images, "1.jpg 7\ndrei.png 12\n"), images) == ["1.jpg", "drei.png"]
    make(images, ("1.jpg 7",))
    assert names(write(images, "1.jpg 7\ndrei.png 7\n"), images) == ["1.jpg 7", "drei.png 7"]
    assert names(write(images, "image 1.jpg\nimage 2.jpg\n"), images) == ["image 1.jpg", "image 2.jpg"]


def test_a_file_with_the_name_of_a_header_is_that_file(images):
    make(images, ("image",))
    assert names(write(images, "image\n1.jpg\n"), images) == ["image", "1.jpg"]


def test_comments_and_blank_lines_are_no_entries_unless_they_exist(images):
    make(images, ("# 1.jpg", "#2.jpg"))
    rows = ["# made yesterday", "#", "", "   ", "1.jpg", "# 1.jpg", "#2.jpg"]
    assert names(write(images, "\n".join(rows)), images) == ["1.jpg", "# 1.jpg", "#2.jpg"]


@pytest.mark.parametrize(
    "row",
    [
        *('"{}"', "'{}'", "  {}", "{}  ", "{}\t", '\t"{}" ', "file://{}", "file://localhost{}", "file:{}", "FILE://{}"),
        "'file://{}'",
    ],
)
def test_names_as_file_managers_write_them(images, row):
    (path,) = make(images, ("a b.jpg",))
    assert listed(write(images, row.format(path) + "\n" + row.format(path.replace("a b", "no")) + "\n"))[0] == path


def test_uris_of_files_have_escapes_or_none(images):
    paths = make(images, ("100%.jpg", "a b#1?.jpg", "x%20y.jpg", os.fsdecode(b"\xe9.jpg")))
    rows = [Path(path).as_uri() for path in paths] + [f"file://{paths[0]}", f"file://{paths[2]}"]
    assert listed(write(images, "\n".join(rows))) == paths


def test_backslashes_of_windows_are_slashes_where_that_exists(images):
    make(images / "sub", ("1.jpg",))
    make(images, ("a\\b.jpg",))
    assert names(write(images, "sub\\1.jpg\na\\b.jpg\n"), images) == ["sub/1.jpg", "a\\b.jpg"]


def test_bytes_that_are_not_utf8_are_those_of_the_name_or_of_windows(images):
    """Where both exist the name to the letter goes first."""
    make(images, ("größe.jpg", b"caf\xe9.jpg", b"na\xefve.jpg", "naïve.jpg", "100 €.jpg"))
    rows = [b"gr\xf6\xdfe.jpg", b"caf\xe9.jpg", b"na\xefve.jpg", b"100 \x80.jpg", b"\xe4 gone.jpg"]
    expected = ["größe.jpg".encode(), *rows[1:3], "100 €.jpg".encode(), rows[4]]
    for content in (b"\n".join(rows), b"\n".join([b"id\tpath", *(b"1\t" + row for row in rows)])):
        assert list(map(os.fsencode, names(write(images, content), images))) == expected


def test_rows_that_are_too_short_are_no_entries(images):
    assert names(write(images, "label,path\nx,1.jpg\nx\nx,drei.png\n"), images) == ["1.jpg", "drei.png"]


def test_a_quotation_mark_that_is_missing_is_told_and_swallows_nothing(images):
    rows = ["label,path", 'x,"1.jpg', "x,drei.png"]
    assert "quotation mark" in refusal(write(images, "\n".join(rows)))


def test_a_long_list_is_read_piece_by_piece(images):
    rows = [f"{images}/{n}, with a comma.jpg" for n in range(20_000)]
    for content in ("\n".join(rows), "\0".join(rows), "path\tx\n" + "\t1\n".join(rows) + "\t1\n"):
        path = write(images, content)
        assert path.stat().st_size > 5 * HEAD
        assert listed(path) == rows


# --- NUL --------------------------------------------------------------------------------------------------------------


def test_names_that_end_with_a_nul_are_taken_to_the_letter(images):
    odd = (*ODD, "two\nlines.jpg", "\r.jpg", "# 1.jpg", "\x01.jpg", b"\xe9.jpg", "a" * 200)
    paths = make(images, odd)
    for content in ("\0".join([*paths, ""]), "\0".join(paths)):
        assert listed(write(images, content)) == paths
    assert names(write(images, b"\0".join(map(os.fsencode, odd))), images) == [os.fsdecode(n) for n in odd]


def test_one_name_with_a_nul_is_a_list(images):
    for name in PLAIN:
        assert names(write(images, f"{name}\0"), images) == [name]
        assert names(write(images, f"./{name}\0"), images) == [name]


def test_what_find_writes_is_read(images):
    make(images, ("two\nlines.jpg",))
    for arguments in ([".", "-type", "f", "-print0"], [str(images), "-name", "*.jpg", "-print0"]):
        found = subprocess.run(["find", *arguments], cwd=images, capture_output=True, check=True).stdout
        assert len(listed(write(images, found))) == found.count(b"\0")


def test_an_image_with_zeros_is_no_list(images):
    for data in (encode(cloudy(0), "JPEG")[:500], encode(cloudy(0), "PNG")[50:500], b"\0\1\2", b"ab\0\0cd", bytes(100)):
        path = write(images, data, "broken")
        assert listed(path) == [str(path)]


# --- pipes ------------------------------------------------------------------------------------------------------------


def test_what_comes_through_a_pipe_is_a_list(images):
    reader, writer = os.pipe()
    content = "\0".join(str(images / name) for name in PLAIN).encode()
    threading.Thread(target=lambda: (os.write(writer, content), os.close(writer))).start()
    try:
        assert names(f"/dev/fd/{reader}", images) == list(PLAIN)
    finally:
        os.close(reader)


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("bash"), reason="needs bash")
def test_the_shell_may_write_the_list(images):
    for name in PLAIN:
        cloudy(len(name)).save(images / name)
    script = f"{sys.executable} -m fastdup_ray run <(find . -type f) --executor inline --work-dir ../out --run-mode 1"
    script = script.replace("-m fastdup_ray", "-c 'from fastdup_ray.cli.main import main; main()'")
    done = subprocess.run(["bash", "-c", script], cwd=images, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert len((images.parent / "out" / "features.dat.csv").read_text().splitlines()) == 1 + len(PLAIN)


def test_a_pipe_cannot_be_a_reference(images):
    reader, writer = os.pipe()
    os.close(writer)
    with pytest.raises(InputError, match="pipe"):
        check_inputs(RunConfig.of(input_dir=images, reference=f"/dev/fd/{reader}"))
    os.close(reader)


# --- what is no list --------------------------------------------------------------------------------------------------


def parquet() -> bytes:
    file = pa.BufferOutputStream()
    pq.write_table(pa.table({"filename": ["a.jpg"]}), file)
    return file.getvalue().to_pybytes()


def npy() -> bytes:
    file = io.BytesIO()
    np.save(file, np.zeros(3))
    return file.getvalue()


def zipped(*inner: str) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name in inner:
            archive.writestr(name, "x")
    return file.getvalue()


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (parquet(), "Apache Parquet"),
        (npy(), "NumPy"),
        (pickle.dumps(["a.jpg"]), "pickle"),
        (pickle.dumps({"a": 1}, protocol=2), "pickle"),
        (gzip.compress(b"a.jpg\n"), "gzip"),
        (zipped("[Content_Types].xml", "xl/workbook.xml"), "Office"),
        (zipped("a.jpg"), r"zip archive; rename it to \*\.zip"),
        (b"%PDF-1.4\n%\xe2\xe3\n1 0 obj\n", "PDF"),
        (b"SQLite format 3\0" + bytes(84), "SQLite"),
        (json.dumps([{"filename": "a.jpg"}]).encode(), "JSON"),
        (b'{"filename": "a.jpg"}\n{"filename": "b.jpg"}\n', "JSON"),
        (json.dumps(["a.jpg"] * 20_000).encode(), "JSON"),
        (b'<?xml version="1.0"?><svg/>', "XML"),
        (b"id,label\n1,cat\n2,dog\n", "columns id, label; name the column of paths 'filename'"),
        ("id;label\n1;cat\n".encode("utf-16"), "columns id, label"),
        (b"id,label,\n1,cat,\n2,dog,\n", "columns id, label"),
        (b"a" * (HEAD + 1), "is not a list"),
    ],
    ids=lambda value: "" if isinstance(value, bytes) else value,  # archives have the time in them
)
def test_what_is_no_list_is_told_in_one_line(images, data, told):
    with pytest.raises(InputError, match=told):
        listed(write(images, data))
    refusal(write(images, data))


def test_json_is_no_table_even_if_a_cell_of_it_is_a_name(images):
    with pytest.raises(InputError, match="JSON"):
        listed(write(images, json.dumps([str(images / name) for name in PLAIN])))


@pytest.mark.parametrize(
    "name", ["ORCHIDS/1.jpg", "PAR1S.jpg", "BZh.jpg", "{x}.jpg", "[1].jpg", "<html>.jpg", "%PDF.jpg"]
)
def test_names_that_begin_as_other_formats_do_are_names(images, name):
    assert names(write(images, f"{name}\n1.jpg\n"), images) == [name, "1.jpg"]


def test_a_file_named_as_an_image_is_an_entry_whatever_is_in_it(images):
    path = write(images, gzip.compress(b"x"), "broken.jpg")
    assert listed(path) == [str(path)]


@pytest.mark.parametrize("content", ["", "\n\n", "filename\n", "index,filename\n", "# nothing\n"])
def test_an_empty_list_is_told(images, content):
    path = write(images, content)
    assert listed(path) == []
    with pytest.raises(InputError, match="No images in") as caught:
        listed_or_refused(RunConfig.of(input_dir=path))
    assert repr(str(path)) in str(caught.value)


def test_a_list_none_of_whose_files_exist_is_told(images):
    rows = [f"elsewhere/{n}.jpg" for n in range(50)]
    with pytest.raises(InputError, match="None of the 50") as caught:
        listed_or_refused(RunConfig.of(input_dir=write(images, "\n".join(rows))))
    assert str(images / "elsewhere" / "0.jpg") in str(caught.value)
    assert "current folder" in str(caught.value)
    assert len(listed_or_refused(RunConfig.of(input_dir=write(images, "\n".join([*rows, "1.jpg"]))))) == 51


def test_a_list_whose_paths_start_at_its_own_folder_says_where_to_run(images):
    path = write(images, "".join(f"{images.name}/{name}\n" for name in PLAIN))
    with pytest.raises(InputError, match="run the command in") as caught:
        listed_or_refused(RunConfig.of(input_dir=path))
    assert repr(str(path.parent)) in str(caught.value)


def test_a_uri_that_cannot_be_read_is_told(images):
    for rows in (["ftp://example.org/a.jpg"], ["id,url", "1,ftp://example.org/a.jpg"]):
        with pytest.raises(InputError, match=r"ftp://example\.org/a\.jpg"):
            listed(write(images, "\n".join(rows)))
    rows = ["url,path", "ftp://example.org/a.jpg,1.jpg"]
    assert names(write(images, "\n".join(rows)), images) == ["1.jpg"]
