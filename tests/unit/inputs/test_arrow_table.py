"""Images in Arrow files, in both of its formats, whole and damaged."""

import numpy as np
import pyarrow as pa
import pytest

from fastdup_ray.errors import BadImageError, InputError
from fastdup_ray.inputs import read_entry, stat
from fastdup_ray.inputs.arrow_table import ArrowTable
from tests.helpers.tables import listed, picture, write_arrow

ROWS = 50


@pytest.mark.parametrize(
    "form",
    [
        {},
        {"new": pa.ipc.new_file},
        {"options": pa.ipc.IpcWriteOptions(compression="zstd")},
        {"options": pa.ipc.IpcWriteOptions(use_legacy_format=True)},
    ],
)
def test_each_row_is_an_image(tmp_path, form):
    path = write_arrow(tmp_path / "data-00000-of-00001.arrow", ROWS, **form)
    refs = listed(path)
    assert [ref.uri for ref in refs] == [f"{path}!/{row:08d}-{row}.jpg" for row in range(ROWS)]
    order = [(37 * place) % ROWS for place in range(ROWS)]
    assert [read_entry(refs[row]) for row in order] == [picture(row) for row in order]
    assert [stat(ref.uri) for ref in refs] == refs


def test_only_the_batch_of_a_row_is_read(tmp_path):
    path = write_arrow(tmp_path / "a.arrow")
    read: list[int] = []

    class Counting:
        def __init__(self, file):
            self.seek = file.seek
            self.file = file

        def read(self, size):
            read.append(size)
            return self.file.read(size)

    with path.open("rb") as file:
        rows = ArrowTable(Counting(file))
        assert rows.starts == [0, 20, 40, 50]
        assert sum(read) < path.stat().st_size / 10
        (batch,) = rows.iter_batches(2, ["image"], 16)
    assert [row["image"]["path"] for row in batch.to_pylist()] == [f"folder/{row}.jpg" for row in range(40, 50)]
    assert sum(read) < path.stat().st_size / 2


def test_columns_of_dictionaries_are_no_hindrance(tmp_path):
    keys = pa.array(["x", "y"] * 2).dictionary_encode()
    path = write_arrow(tmp_path / "a.arrow", batch=2, kind=keys, jpg=[b"1", b"2", b"3", b"4"])
    assert [read_entry(ref) for ref in listed(path)] == [b"1", b"2", b"3", b"4"]


def test_a_column_of_paths_is_a_list(tmp_path):
    (tmp_path / "one.jpg").write_bytes(picture(1))
    path = write_arrow(tmp_path / "a.arrow", batch=2, file_name=["one.jpg", None, "two.jpg"])
    assert [ref.uri for ref in listed(path)] == [str(tmp_path / "one.jpg"), str(tmp_path / "two.jpg")]


@pytest.mark.parametrize("lost", [10, 2000])
def test_the_rows_before_the_damage_are_listed_then_the_file(tmp_path, lost):
    path = write_arrow(tmp_path / "a.arrow")
    data = path.read_bytes()
    path.write_bytes(data[: len(data) - lost])
    refs = listed(path)
    assert [ref.uri for ref in refs] == [f"{path}!/{row:08d}-{row}.jpg" for row in range(40)] + [str(path)]
    with pytest.raises(BadImageError) as caught:
        read_entry(refs[-1])
    assert caught.value.code == "CORRUPT"


@pytest.mark.parametrize(
    "content", [b"", b"ARROW1\0\0", bytes(100), b"\xff" * 100, b"\xff\xff\xff\xff\x08\0\0\0" + b"\x7f" * 8]
)
def test_what_is_no_arrow_file_is_refused(tmp_path, content):
    (tmp_path / "a.arrow").write_bytes(content)
    with pytest.raises(InputError):
        listed(tmp_path / "a.arrow")


@pytest.mark.parametrize("seed", range(60))
def test_damage_anywhere_is_an_error_or_a_bad_image(tmp_path, seed):
    path, rng = write_arrow(tmp_path / "a.arrow", 12, 4), np.random.default_rng(seed)
    data = bytearray(path.read_bytes())
    heads = [place for place in range(len(data) - 4) if data[place : place + 4] == b"\xff\xff\xff\xff"]
    for place in rng.choice(heads, 2) + rng.integers(0, 300, 2):
        data[min(place, len(data) - 1)] = rng.integers(256)
    path.write_bytes(data)
    try:
        refs = listed(path)
    except InputError:
        return
    for ref in refs:
        try:
            read_entry(ref)
        except BadImageError as error:
            assert error.code in {"CORRUPT", "NOT_AN_IMAGE", "MISSING"}
