"""Lists of paths as Python programs hold them."""

import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from PIL import Image

from fastdup_ray.common.path_lists import COLUMNS, list_paths

PAIR = ["b.jpg", "a.jpg"]


class PolarsFrame:
    """What a data frame of polars offers; its columns are lists here."""

    columns = ("index", "filename")

    def __getitem__(self, name):
        return {"index": [0, 1], "filename": PAIR}[name]

    def __iter__(self):
        return iter([[0, 1], PAIR])


@pytest.mark.parametrize(
    "paths",
    [
        PAIR,
        tuple(PAIR),
        (Path(name) for name in PAIR),
        map(Path, PAIR),
        dict.fromkeys(PAIR).keys(),
        np.array(PAIR),
        np.array(PAIR, object),
        pd.Series(PAIR, index=[7, 5]),
        pd.Series(PAIR, dtype="category"),
        pd.Index(PAIR),
        pd.DataFrame({"size": [1, 2], "filename": PAIR}),
        pd.DataFrame({"size": [1, 2], "File Name": PAIR}),
        pd.DataFrame({"image": ["x", "y"], "filename": PAIR}),
        pd.DataFrame({"mine": PAIR}),
        pa.table({"size": [1, 2], "path": PAIR}),
        pa.chunked_array([PAIR]),
        PolarsFrame(),
    ],
    ids=lambda paths: type(paths).__name__,
)
def test_many_paths_are_a_list_in_their_order(paths):
    listed = list_paths(paths)
    assert listed == PAIR
    assert {type(path) for path in listed} == {str}


@pytest.mark.parametrize("path", ["a.jpg", Path("a.jpg"), np.str_("a.jpg"), np.array("a.jpg")])
def test_one_path_is_a_text(path):
    if isinstance(path, np.ndarray):
        path = path[()]
    assert list_paths(path) == "a.jpg"


def test_a_set_is_sorted():
    assert list_paths({"b", Path("a"), "c"}) == ["a", "b", "c"]


@pytest.mark.parametrize("wrong", [5, b"a", {"filename": "a"}, object(), None])
def test_what_is_no_path_is_refused(wrong):
    with pytest.raises(ValueError, match="must be a path"):
        list_paths(wrong)


@pytest.mark.parametrize("wrong", [None, float("nan"), pd.NA, b"a", 5, ["a"]])
def test_an_item_that_is_no_path_is_named(wrong):
    with pytest.raises(ValueError, match=r"^item 2 is "):
        list_paths(pd.Series([*PAIR, wrong], dtype=object))


def test_a_frame_without_a_column_of_paths_is_told_its_columns():
    with pytest.raises(ValueError, match=r"filename.*width, height"):
        list_paths(pd.DataFrame({"width": [1], "height": [1]}))


BYTES, STRUCT, PIXELS = b"\xff\xd8", {"bytes": b"\xff\xd8", "path": None}, Image.new("RGB", (2, 2))


@pytest.mark.parametrize(
    ("make", "image"), [(pd.DataFrame, BYTES), (pd.DataFrame, STRUCT), (pd.DataFrame, PIXELS), (pa.table, BYTES)]
)
def test_a_table_of_images_is_told_how_to_be_read(make, image):
    with pytest.raises(ValueError, match=r"column image.*Parquet"):
        list_paths(make({"image": [image], "label": [1]}))


def test_a_query_that_was_not_run_is_told():
    class LazyFrame:
        columns = ("filename",)

    with pytest.raises(ValueError, match="collect"):
        list_paths(LazyFrame())


def test_the_most_likely_column_comes_first():
    for first, second in pairwise(COLUMNS):
        assert list_paths(pd.DataFrame({second: ["no"], first: ["yes"]})) == ["yes"]


def test_no_library_of_data_frames_is_imported():
    code = "import sys; from fastdup_ray import RunConfig; RunConfig.of(input_dir=iter(['a'])); print(*sys.modules)"
    modules = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"pandas", "polars", "torch"} & {*modules}
