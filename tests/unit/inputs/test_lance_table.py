"""Images in the rows of Lance datasets: versions, deleted rows, blobs and damage."""

import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from fastdup_ray.common.records import ImageRef
from fastdup_ray.errors import BadImageError, InputError
from fastdup_ray.inputs import find_standalone, read_entry, stat, table_rows
from fastdup_ray.inputs.references import reference_mask
from fastdup_ray.storage.tables import encode_names
from tests.helpers.tables import listed, make_table, picture

lance = pytest.importorskip("lance")


def write(path: Path, rows: int = 50, **columns: object) -> Path:
    lance.write_dataset(make_table(rows, **columns), str(path), max_rows_per_file=20)
    return path


def test_each_row_is_an_image(tmp_path):
    path = write(tmp_path / "x.lance")
    refs = listed(path)
    assert [ref.uri for ref in refs] == [f"{path}!/{row:08d}-{row}.jpg" for row in range(50)]
    order = [(37 * place) % 50 for place in range(50)]
    assert [read_entry(refs[row]) for row in order] == [picture(row) for row in order]
    assert [stat(ref.uri) for ref in refs[::10]] == refs[::10]
    assert read_entry(ImageRef(refs[3].uri, 0, "")) == picture(3)
    assert not find_standalone(encode_names([refs[0].uri])).any()


def test_rows_of_several_groups_are_read(tmp_path, monkeypatch):
    monkeypatch.setattr("fastdup_ray.inputs.lance_table._ROWS_IN_GROUP", 7)
    refs = listed(write(tmp_path / "x.lance"))
    assert [read_entry(ref) for ref in reversed(refs)] == [picture(row) for row in range(49, -1, -1)]


@pytest.mark.parametrize("column", ["id", "image_id"])
def test_the_id_of_a_row_is_its_name(tmp_path, column):
    path = write(tmp_path / "x.lance", **{"image": pa.array([picture(1), picture(2)]), column: [71, 72]})
    assert [ref.uri for ref in listed(path)] == [f"{path}!/00000000-71", f"{path}!/00000001-72"]


def test_a_version_is_read_as_it_was_listed(tmp_path):
    path = write(tmp_path / "x.lance")
    before = listed(path)
    dataset = lance.dataset(str(path))
    dataset.delete("label < 3")
    lance.write_dataset(make_table(1), str(path), mode="append")
    after = listed(path)
    assert [read_entry(ref) for ref in before] == [picture(row) for row in range(50)]
    assert [read_entry(ref) for ref in after] == [picture(row) for row in (*range(3, 50), 0)]
    assert not {ref.mtime_or_etag for ref in before} & {ref.mtime_or_etag for ref in after}


def test_blobs_are_read(tmp_path):
    blob = pa.field("image", pa.large_binary(), metadata={"lance-encoding:blob": "true"})
    images = pa.table([pa.array([picture(1), picture(2)], pa.large_binary())], schema=pa.schema([blob]))
    lance.write_dataset(images, str(tmp_path / "x.lance"), data_storage_version="2.1")
    assert [read_entry(ref) for ref in listed(tmp_path / "x.lance")] == [picture(1), picture(2)]


def test_a_reference_is_all_of_its_images(tmp_path):
    path = write(tmp_path / "x.lance", 2)
    names = encode_names([*(ref.uri for ref in listed(path)), str(tmp_path / "y.jpg")])
    assert reference_mask([str(path)], names).tolist() == [True, True, False]


def test_a_column_of_paths_is_a_list(tmp_path):
    (tmp_path / "one.jpg").write_bytes(picture(1))
    assert [ref.uri for ref in listed(write(tmp_path / "x.lance", filename=["one.jpg"]))] == [str(tmp_path / "one.jpg")]


def test_a_dataset_without_images_is_refused(tmp_path):
    with pytest.raises(InputError):
        listed(write(tmp_path / "x.lance", n=[1]))


@pytest.mark.parametrize("seed", range(8))
def test_damage_is_an_error_or_a_bad_image(tmp_path, seed):
    path, rng = write(tmp_path / "x.lance", 12), np.random.default_rng(seed)
    table_rows._open_reader.cache_clear()
    (file,) = (path / "data").glob("*.lance")
    data = bytearray(file.read_bytes())
    if seed % 2:
        data = data[: rng.integers(len(data))]
    else:
        data[-100:-50] = rng.bytes(50)
    file.write_bytes(data)
    try:
        refs = listed(path)
    except InputError:
        return
    assert refs
    for ref in refs:
        try:
            read_entry(ref)
        except BadImageError as error:
            assert error.code in {"CORRUPT", "CHANGED", "MISSING"}


def test_without_pylance_it_says_what_to_install(tmp_path, monkeypatch):
    path = write(tmp_path / "x.lance", 2)
    monkeypatch.setitem(sys.modules, "lance", None)
    with pytest.raises(InputError) as caught:
        listed(path)
    assert "pip install 'fastdup-ray[lance]'" in str(caught.value)


def test_a_folder_of_that_suffix_is_a_folder(tmp_path):
    (tmp_path / "x.lance").mkdir()
    (tmp_path / "x.lance" / "a.jpg").write_bytes(picture(1))
    assert [ref.uri for ref in listed(tmp_path / "x.lance")] == [str(tmp_path / "x.lance" / "a.jpg")]
