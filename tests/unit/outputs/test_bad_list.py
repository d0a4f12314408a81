"""What the end of a run says of unreadable files."""

from pathlib import Path

import pytest

from fastdup_ray.common import csv_columns, layout
from fastdup_ray.common.layout import INDEXED
from fastdup_ray.errors import ErrorCode
from fastdup_ray.outputs.bad_list import FEW, IN_WORDS, describe_bad
from fastdup_ray.storage import Store, open_store
from fastdup_ray.storage.csv_files import write_csv
from fastdup_ray.storage.tables import encode_names


def make_store(folder: Path, codes: list[str]) -> Store:
    store = open_store(str(folder))
    store.prepare()
    rows = [(f"/in/{place}.jpg", code, f"reason {place}") for place, code in enumerate(codes)]
    columns = [encode_names(column) for column in zip(*rows, strict=True)]
    write_csv(store, layout.BAD_CSV, csv_columns.BAD_HEADER, columns)
    return store


def test_few_files_are_listed_with_their_reasons(tmp_path):
    store = make_store(tmp_path, [ErrorCode.MISSING, ErrorCode.TRUNCATED])
    assert describe_bad(store, INDEXED, 2) == ["/in/0.jpg: reason 0", "/in/1.jpg: reason 1"]


def test_of_many_files_each_kind_is_counted_with_an_example(tmp_path):
    codes = [ErrorCode.TRUNCATED] * 2 + [ErrorCode.MISSING] * FEW
    missing, cut, rest = describe_bad(make_store(tmp_path, codes), INDEXED, len(codes))
    assert missing == f"{FEW} {IN_WORDS[ErrorCode.MISSING]}, such as /in/2.jpg"
    assert cut == f"2 {IN_WORDS[ErrorCode.TRUNCATED]}, such as /in/0.jpg"
    assert layout.BAD_CSV in rest


@pytest.mark.parametrize("code", ErrorCode)
def test_each_code_has_words(code):
    assert IN_WORDS[code]
