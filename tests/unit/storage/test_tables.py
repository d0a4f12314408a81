"""CSV and parquet: every name comes back as it was, every number has six decimals, the same table is the same bytes."""

import csv
import io
import os

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fastdup_ray.errors import DamagedError
from fastdup_ray.storage import Store, csv_files, open_store, parquet_files, tables
from fastdup_ray.storage.csv_files import iter_csv, open_csv, read_csv, write_csv
from fastdup_ray.storage.parquet_files import write_parquet
from fastdup_ray.storage.tables import encode_names, escape_names, find_positions, map_table, take_rows
from tests.helpers.runs import csv_rows

NASTY = [
    "plain.jpg",
    "comma, in it.jpg",
    'say "hi".jpg',
    '"',
    '""',
    '"quoted"',
    "two\nlines.jpg",
    "carriage\rreturn.jpg",
    "both\r\n.jpg",
    ',"\n',
    "-dash.jpg",
    "=1+1.jpg",
    " space around ",
    "tab\tin it",
    "😀 é é.jpg",
    "#hash",
    "NULL",
    "nan",
    "'",
    "\\x41",
    "back\\slash",
    os.fsdecode(b"caf\xe9.jpg"),
    os.fsdecode(b'\xff\xfe,"\x80'),
]
HEADER = ("index", "filename")


@pytest.fixture
def store(tmp_path) -> Store:
    return open_store(str(tmp_path))


def bytes_of(store: Store, header, columns) -> bytes:
    write_csv(store, "t.csv", header, columns)
    return store.fetch("t.csv").read_bytes()


# --- names ------------------------------------------------------------------------------------------------------------


def assert_comes_back(store: Store, names: list[str]) -> None:
    write_csv(store, "t.csv", HEADER, [np.arange(len(names)), encode_names(names)])
    path = store.fetch("t.csv")
    assert csv_rows(path) == [list(HEADER), *([str(i), name] for i, name in enumerate(names))]
    assert [os.fsdecode(name) for name in read_csv(path, HEADER)["filename"].to_pylist()] == names


@pytest.mark.parametrize("name", NASTY)
def test_a_name_comes_back_as_it_was(store, name):
    assert_comes_back(store, [name])


def test_many_names_come_back_in_their_order(store):
    assert_comes_back(store, NASTY * 100)


@pytest.fixture(scope="module")
def shared_store(tmp_path_factory) -> Store:
    return open_store(str(tmp_path_factory.mktemp("tables")))


@given(names=st.lists(st.binary(min_size=1, max_size=12).filter(lambda name: b"\0" not in name), max_size=5))
@example(names=[b"\r", b"\n", b'"', b","])
def test_any_bytes_that_can_be_a_name_come_back(shared_store, names):
    assert_comes_back(shared_store, [os.fsdecode(name) for name in names])


def test_a_table_without_rows_is_its_header(store):
    assert bytes_of(store, HEADER, [np.arange(0), encode_names([])]) == b"index,filename\n"
    assert read_csv(store.fetch("t.csv"), HEADER).num_rows == 0


def test_only_what_needs_quotes_has_them(store):
    data = bytes_of(store, HEADER, [np.arange(3), encode_names(["a b.jpg", "a,b.jpg", "é.jpg"])])
    assert data == 'index,filename\n0,a b.jpg\n1,"a,b.jpg"\n2,é.jpg\n'.encode()


def test_a_slice_and_chunks_are_written_as_what_they_show(store):
    names = encode_names(["a", "b", "c", "d"])
    chunks = pa.chunked_array([names.slice(1, 1), names.slice(3, 1)])
    assert bytes_of(store, ("filename",), [chunks]) == b"filename\nb\nd\n"
    assert bytes_of(store, ("filename",), [names.slice(1, 2)]) == b"filename\nb\nc\n"


# --- numbers ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1.0, "1.000000"),
        (0.0, "0.000000"),
        (-0.0, "0.000000"),
        (-0.25, "-0.250000"),
        (0.9999994, "0.999999"),
        (0.9999996, "1.000000"),
        (1e-9, "0.000000"),
        (-1e-9, "0.000000"),
        (0.1 + 0.2, "0.300000"),
        (123456789.125, "123456789.125000"),
        (1e-6, "0.000001"),
    ],
)
def test_a_real_has_six_decimals(store, value, text):
    assert bytes_of(store, ("x",), [np.array([value])]) == f"x\n{text}\n".encode()


@given(value=st.floats(-1e6, 1e6))
def test_what_is_written_is_within_half_a_millionth(shared_store, value):
    written = bytes_of(shared_store, ("x",), [np.array([value])]).decode().split()[1]
    assert abs(float(written) - value) <= 5.1e-7
    assert len(written.split(".")[1]) == 6


@pytest.mark.parametrize(
    "column",
    [
        pa.array([1.5, None, 2.0]),
        pa.array(np.array([1.5, np.nan, 2.0]), from_pandas=True),
        pa.chunked_array([pa.array([1.5, None]), pa.array([2.0])]),
    ],
)
def test_what_is_not_there_is_empty(store, column):
    assert bytes_of(store, ("x", "y"), [column, np.arange(3)]) == b"x,y\n1.500000,0\n,1\n2.000000,2\n"


def test_a_column_of_nothing_is_empty(store):
    columns = [np.arange(2), pa.nulls(2, pa.float64()), pa.nulls(2, pa.int64()), pa.array([None, "x"])]
    assert bytes_of(store, ("a", "b", "c", "d"), columns) == b"a,b,c,d\n0,,,\n1,,,x\n"


def test_whole_numbers_have_no_decimals(store):
    assert bytes_of(store, ("x",), [np.array([0, -5, 2**62])]) == b"x\n0\n-5\n4611686018427387904\n"


# --- damage -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\n",
        b"other,filename\n0,a\n",
        b"index\n0\n",
        b"index,filename,more\n0,a,b\n",
        b"index,filename\n0\n",
        b"index,filename\n0,a,b\n",
    ],
)
def test_a_csv_of_another_shape_is_damaged(tmp_path, content):
    (tmp_path / "t.csv").write_bytes(content)
    with pytest.raises(DamagedError, match=r"t\.csv"):
        read_csv(tmp_path / "t.csv", HEADER)


@pytest.mark.parametrize("text", ["", "NULL", "nan", "N/A", "#N/A", "null"])
def test_words_for_nothing_are_read_as_words(store, text):
    data = io.StringIO()
    csv.writer(data, lineterminator="\n").writerows([HEADER, ("0", text), ("1", "x")])
    with store.create("t.csv") as path:
        path.write_text(data.getvalue())
    assert read_csv(store.fetch("t.csv"), HEADER)["filename"].to_pylist() == [text.encode(), b"x"]


# --- parquet ----------------------------------------------------------------------------------------------------------


def table() -> pa.Table:
    return pa.table({"filename": escape_names(encode_names(NASTY)), "x": np.linspace(0, 1, len(NASTY))})


def test_the_same_table_is_the_same_parquet_bytes(store):
    write_parquet(store, "a.parquet", table())
    write_parquet(store, "b.parquet", table().replace_schema_metadata({"made": "somewhere else"}))
    assert store.fetch("a.parquet").read_bytes() == store.fetch("b.parquet").read_bytes()


def test_parquet_comes_back(store):
    write_parquet(store, "a.parquet", table())
    assert pq.read_table(store.fetch("a.parquet")).to_pydict() == table().to_pydict()


def test_bytes_that_are_not_utf8_are_written_as_their_numbers():
    names = encode_names([os.fsdecode(b"caf\xe9.jpg"), "café.jpg", os.fsdecode(b"\xff\xc3\xa9")])
    assert escape_names(names).to_pylist() == ["caf\\xe9.jpg", "café.jpg", "\\xffé"]


def test_no_name_stays_none():
    assert escape_names(pa.array([b"\xe9", None], pa.large_binary())).to_pylist() == ["\\xe9", None]


def test_names_that_are_utf8_stay_as_they_are():
    names = [name for name in NASTY if name.isprintable() or "\n" in name][:10]
    assert escape_names(encode_names(names)).to_pylist() == names


def test_texts_of_others_are_no_formulas_in_the_file_and_come_back_and_names_stay(store):
    header, texts = ("filename", "error_code", "message"), ["=1+1", "'=1", "\t@x", "-1", "plain", "'quoted'", "\uff1dx"]
    names = encode_names(["=name.jpg", "+1.jpg", *(f"@{n}" for n in range(5))])
    write_csv(store, "bad.csv", header, [names, pa.array(["X"] * 7), pa.array(texts, pa.large_string())])
    with open(store.fetch("bad.csv"), newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["message"] for row in rows] == ["'=1+1", "''=1", "'\t@x", "'-1", "plain", "'quoted'", "'\uff1dx"]
    assert [row["filename"] for row in rows] == [name.decode() for name in names.to_pylist()]
    path = store.fetch("bad.csv")
    for table in (read_csv(path, header), pa.Table.from_batches(iter_csv(path, header))):
        assert table["message"].cast(pa.large_string()).to_pylist() == texts
        assert table["filename"].to_pylist() == names.to_pylist()


# --- block by block ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 7, 1 << 17])
def test_a_file_is_the_same_whatever_is_written_at_a_time(store, monkeypatch, size):
    names, values = encode_names(NASTY * 3), np.linspace(-1, 1, 3 * len(NASTY))
    whole = bytes_of(store, ("filename", "x"), [names, values])
    with open_csv(store, "blocks.csv", ("filename", "x")) as write:
        for start in range(0, len(names), size):
            write([names[start : start + size], values[start : start + size]])
    monkeypatch.setattr(csv_files, "ROWS_PER_BLOCK", size)
    assert store.fetch("blocks.csv").read_bytes() == bytes_of(store, ("filename", "x"), [names, values]) == whole
    assert csv_blocks_of(store, "blocks.csv") == list(zip(NASTY * 3, values.round(6), strict=True))


def test_blocks_have_many_rows_however_little_is_read_at_a_time(store, monkeypatch):
    names = encode_names(f"{row}.jpg" for row in range(1_000))
    write_csv(store, "t.csv", ("filename", "x"), [names, np.arange(1_000.0)])
    monkeypatch.setattr(csv_files, "BYTES_READ", 200)
    monkeypatch.setattr(tables, "ROWS_PER_GROUP", 100)
    blocks = list(iter_csv(store.fetch("t.csv"), ("filename", "x")))
    assert pa.Table.from_batches(blocks)["filename"].to_pylist() == names.to_pylist()
    assert min(map(len, blocks[:-1])) >= 100


def csv_blocks_of(store, name):
    header = ("filename", "x")
    rows = pa.Table.from_batches(iter_csv(store.fetch(name), header)).to_pylist()
    return [(os.fsdecode(row["filename"]), float(row["x"])) for row in rows]


def test_a_csv_read_by_blocks_is_checked_like_a_whole_one(tmp_path):
    for content, reason in ((b"a,b\n1,2\n", "header"), (b"", "damaged"), (b"index,filename\n0\n", "damaged")):
        (tmp_path / "t.csv").write_bytes(content)
        with pytest.raises(DamagedError, match=reason):
            list(iter_csv(tmp_path / "t.csv", HEADER))
    (tmp_path / "t.csv").write_bytes(b"index,filename\n" + b"0,a\n" * 4_000_000 + b"0\n")
    with pytest.raises(DamagedError, match="damaged"):
        list(iter_csv(tmp_path / "t.csv", HEADER))


def test_a_row_group_has_so_many_rows_and_a_table_without_rows_has_its_columns(store, monkeypatch):
    monkeypatch.setattr(parquet_files, "ROWS_PER_BLOCK", 10)
    write_parquet(store, "a.parquet", table())
    found = pq.ParquetFile(store.fetch("a.parquet"))
    assert [found.metadata.row_group(place).num_rows for place in range(found.num_row_groups)] == [10, 10, 3]
    assert found.read().to_pydict() == table().to_pydict()
    write_parquet(store, "a.parquet", table().slice(0, 0))
    assert pq.read_table(store.fetch("a.parquet")).to_pydict() == {"filename": [], "x": []}


@given(data=st.data(), block=st.sampled_from([1, 3, 100]))
def test_some_rows_of_a_mapped_table_are_those_of_the_whole(shared_store, data, block):
    whole = table().append_column("row", pa.array(np.arange(len(NASTY))))
    parts = (whole.slice(start, block) for start in range(0, len(whole), block))
    mapped_table = map_table(parts, whole.schema, shared_store.scratch())
    assert mapped_table.to_pydict() == whole.to_pydict()
    rows = data.draw(st.lists(st.integers(0, len(whole) - 1), max_size=9))
    assert take_rows(mapped_table, np.array(rows, np.int64)).to_pylist() == [whole.to_pylist()[row] for row in rows]


@given(names=st.lists(st.sampled_from(NASTY)), known=st.lists(st.sampled_from(NASTY[5:])), size=st.sampled_from([1, 4]))
def test_names_are_found_where_they_first_stand(names, known, size):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tables, "ROWS_PER_BLOCK", size)
        found = find_positions(encode_names(names).cast(pa.binary()), encode_names(known))
    assert found.tolist() == [known.index(name) if name in known else -1 for name in names]


def test_what_is_mapped_is_not_held_and_leaves_no_file(store, tmp_path):
    before = pa.total_allocated_bytes()
    numbers = pa.table({"x": np.arange(1_000_000)})
    table = map_table([numbers] * 4, numbers.schema, store.scratch())
    del numbers
    assert pa.total_allocated_bytes() - before < 1_000_000
    assert pc.sum(table["x"]).as_py() == 4 * sum(range(1_000_000))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("sizes", [[], [0], [3, 3, 3, 3, 3], [20, 1], [1, 20], [9, 1, 5]])
def test_small_tables_are_joined_in_order(sizes, monkeypatch):
    monkeypatch.setattr(tables, "ROWS_PER_GROUP", 10)
    starts = np.cumsum([0, *sizes])
    parts = [pa.table({"x": np.arange(start, start + size)}) for start, size in zip(starts, sizes, strict=False)]
    joined = list(tables.regroup(parts))
    assert [x for part in joined for x in part["x"].to_pylist()] == list(range(sum(sizes)))
    assert all(len(part) >= 10 for part in joined[:-1])
