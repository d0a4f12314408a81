"""Images in the rows of Parquet and Arrow files, and of datasets of these."""

from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fastdup_ray.common.records import ImageRef
from fastdup_ray.errors import BadImageError, ErrorCode, InputError
from fastdup_ray.inputs import find_standalone, is_standalone_file, read_entry, stat, table_rows
from fastdup_ray.inputs.references import reference_mask
from fastdup_ray.storage.tables import encode_names
from tests.helpers.tables import IMAGE, listed, picture, write_parquet


def test_each_row_is_an_image_with_its_number_and_its_name(tmp_path):
    path = write_parquet(tmp_path / "a.parquet")
    refs = listed(path)
    assert [ref.uri for ref in refs] == [f"{path}!/{row:08d}-{row}.jpg" for row in range(50)]
    assert [read_entry(ref) for ref in refs] == [picture(seed) for seed in range(50)]
    assert [ref.size for ref in refs] == [len(picture(seed)) for seed in range(50)]


@pytest.mark.parametrize(
    ("columns", "name"),
    [
        ({"jpg": [b"1", b"2"], "key": ["x", "y"]}, "x"),
        ({"Image Bytes": [b"1", b"2"], "other": [b"3", b"4"]}, ""),
        ({"anything": [b"1", b"2"], "ID": [7, 8]}, "7"),
        ({"image": pa.array([b"1", b"2"], pa.large_binary()), "label": ["x", "y"]}, ""),
        ({"image": pa.array([b"1", b"2"], pa.binary()), "path": ["a/b.png", None]}, "b.png"),
    ],
)
def test_the_column_of_images_is_found(tmp_path, columns, name):
    path = write_parquet(tmp_path / "a.pq", **{key: pa.array(value) for key, value in columns.items()})
    first, second = listed(path)
    assert first.uri == f"{path}!/00000000" + (f"-{name}" if name else "")
    assert [read_entry(ref) for ref in (first, second)] == [b"1", b"2"]


@pytest.mark.parametrize("column", ["id", "image_id", "__key__", "label"])
def test_a_row_of_hugging_face_without_a_path_has_its_id_as_a_name(tmp_path, column):
    images = pa.array([{"bytes": picture(1), "path": None}, {"bytes": picture(2), "path": "b.jpg"}, None], IMAGE)
    path = write_parquet(
        tmp_path / "train-00000-of-00001.parquet", **{"image": images, column: pa.array(["x1", "x2", "x3"])}
    )
    names = ["-x1", "-b.jpg", "-x3"] if column != "label" else ["", "-b.jpg", ""]
    refs = listed(path)
    assert [ref.uri for ref in refs] == [f"{path}!/{row:08d}{name}" for row, name in enumerate(names)]
    assert [stat(ref.uri) for ref in refs] == refs
    assert [read_entry(ref) for ref in refs] == [picture(1), picture(2), b""]


def test_rows_are_read_in_any_order_by_many_threads(tmp_path):
    path = write_parquet(tmp_path / "a.parquet", rows=90, group=40)
    refs = listed(path)
    order = [refs[(37 * place) % 90] for place in range(90)]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(read_entry, order))
    assert found == [picture((37 * place) % 90) for place in range(90)]


def test_rows_that_follow_each_other_are_read_once(tmp_path, monkeypatch):
    path, groups = write_parquet(tmp_path / "a.parquet", rows=100, group=50), []
    refs = listed(path)
    iter_batches = pq.ParquetFile.iter_batches

    def count(table: pq.ParquetFile, *args: object, **options: object) -> object:
        groups.append(options["row_groups"])
        return iter_batches(table, *args, **options)

    monkeypatch.setattr(pq.ParquetFile, "iter_batches", count)
    table_rows._open_reader.cache_clear()
    for place in range(0, 100, 2):
        for ref in reversed(refs[place : place + 2]):  # threads read ahead of each other
            read_entry(ref)
    assert groups == [[0], [1]]


def test_a_row_is_read_by_its_name_alone(tmp_path):
    path = write_parquet(tmp_path / "a.parquet")
    name = f"{path}!/00000003-3.jpg"
    assert stat(name) == listed(path)[3]
    assert read_entry(ImageRef(name, 0, "")) == picture(3)
    (tmp_path / "list.txt").write_text(f"{name}\n")
    assert listed(tmp_path / "list.txt") == [stat(name)]


@pytest.mark.parametrize("row", ["00000003-4.jpg", "00000099-99.jpg", "3", "x"])
def test_a_row_that_is_not_there_is_missing(tmp_path, row):
    name = f"{write_parquet(tmp_path / 'a.parquet')}!/{row}"
    assert not stat(name).mtime_or_etag
    with pytest.raises(BadImageError) as caught:
        read_entry(ImageRef(name, 0, ""))
    assert caught.value.code is ErrorCode.MISSING


def test_rows_are_no_files_of_their_own(tmp_path):
    names = [ref.uri for ref in listed(write_parquet(tmp_path / "a.parquet"))[:2]] + [str(tmp_path / "b!/00000001.jpg")]
    assert find_standalone(encode_names(names)).tolist() == [False, False, True]
    assert [is_standalone_file(name) for name in names] == [False, False, True]


def test_a_file_that_changed_is_not_read(tmp_path):
    path = write_parquet(tmp_path / "a.parquet")
    ref = listed(path)[0]
    write_parquet(path, rows=60)
    with pytest.raises(BadImageError) as caught:
        read_entry(ref)
    assert caught.value.code is ErrorCode.CHANGED


def test_a_row_without_an_image_is_empty(tmp_path):
    images = pa.array([None, {"bytes": None, "path": "a.jpg"}, {"bytes": picture(1), "path": None}], IMAGE)
    refs = listed(write_parquet(tmp_path / "a.parquet", image=images))
    assert [ref.size for ref in refs] == [0, 0, len(picture(1))]
    assert [read_entry(ref) for ref in refs] == [b"", b"", picture(1)]


def test_the_rows_before_the_damage_are_listed_then_the_file(tmp_path):
    path = write_parquet(tmp_path / "a.parquet", rows=60, group=20)
    data = bytearray(path.read_bytes())
    start = pq.ParquetFile(path).metadata.row_group(1).column(0).data_page_offset
    data[start : start + 40] = bytes(40)
    path.write_bytes(data)
    refs = listed(path)
    assert [ref.uri for ref in refs] == [f"{path}!/{row:08d}-{row}.jpg" for row in range(20)] + [str(path)]
    with pytest.raises(BadImageError) as caught:
        read_entry(refs[-1])
    assert caught.value.code is ErrorCode.CORRUPT


def test_a_column_of_paths_is_a_list(tmp_path):
    names = ["one.jpg", "two.jpg", "missing.jpg"]
    for seed, name in enumerate(names[:2]):
        (tmp_path / name).write_bytes(picture(seed))
    path = write_parquet(tmp_path / "a.parquet", filename=pa.array([*names, str(tmp_path / "one.jpg"), None]))
    assert [ref.uri for ref in listed(path)] == [str(tmp_path / name) for name in names]


@pytest.mark.parametrize("columns", [{"n": [1]}, {"a": ["x"], "b": ["y"]}, {"a": [b"x"], "b": [b"y"]}])
def test_a_file_without_images_or_paths_is_refused(tmp_path, columns):
    path = write_parquet(tmp_path / "a.parquet", **{name: pa.array(values) for name, values in columns.items()})
    with pytest.raises(InputError):
        listed(path)


@pytest.mark.parametrize("content", [b"", b"PAR1", b"PAR1" + bytes(100) + b"PAR1", bytes(1000)])
def test_what_is_no_parquet_file_is_refused(tmp_path, content):
    (tmp_path / "a.parquet").write_bytes(content)
    with pytest.raises(InputError):
        listed(tmp_path / "a.parquet")


def test_parquet_files_of_a_folder_are_left_out(tmp_path):
    write_parquet(tmp_path / "a.parquet")
    (tmp_path / "b.jpg").write_bytes(picture(1))
    assert [ref.uri for ref in listed(tmp_path)] == [str(tmp_path / "b.jpg")]


def test_patterns_apply_to_rows(tmp_path):
    path = write_parquet(tmp_path / "a.parquet", rows=12)
    assert [ref.uri for ref in listed(path, include=["*-1?.jpg"])] == [f"{path}!/{n:08d}-{n}.jpg" for n in (10, 11)]


def test_a_parquet_file_of_references_is_all_of_its_images(tmp_path):
    rows, paths = (
        write_parquet(tmp_path / "a.parquet", rows=2),
        write_parquet(tmp_path / "b.parquet", filename=pa.array(["x.jpg"])),
    )
    names = encode_names([*(ref.uri for ref in listed(rows)), str(tmp_path / "x.jpg"), str(tmp_path / "y.jpg")])
    assert reference_mask([str(rows)], names).tolist() == [True, True, False, False]
    assert reference_mask([str(paths)], names).tolist() == [False, False, True, False]
