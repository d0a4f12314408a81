"""Exact duplicates in whole runs."""

import io
import shutil

import pytest
from PIL import Image

from tests.helpers.images import cloudy, encode
from tests.helpers.runs import csv_rows, run_inline


@pytest.fixture
def folder(tmp_path):
    """A JPEG; the same as PNG; the JPEG with bytes added, twice; the same at another quality; another picture."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    data = encode(cloudy(1, (320, 240)), "JPEG", quality=92)
    (folder / "a.jpg").write_bytes(data)
    decoded = Image.open(io.BytesIO(data)).convert("RGB")
    decoded.save(folder / "b.png")
    (folder / "c.jpg").write_bytes(data + b"more")
    shutil.copy(folder / "c.jpg", folder / "d.jpg")
    decoded.save(folder / "e.jpg", quality=60)
    cloudy(9, (320, 240)).save(folder / "f.jpg")
    return folder


def rows_of(path):
    return [[cell.rpartition("/")[2] for cell in row] for row in csv_rows(path)]


def test_a_run_tells_the_same_bytes_from_the_same_pixels_and_from_near_copies(folder, tmp_path):
    result = run_inline(folder, tmp_path / "out", report=False, nearest_neighbors_k=5, ccthreshold=0.9)
    assert rows_of(tmp_path / "out" / "exact_copies.csv") == [
        ["filename", "copy_of", "kind"],
        ["b.png", "a.jpg", "pixels"],
        ["c.jpg", "a.jpg", "pixels"],
        ["d.jpg", "c.jpg", "bytes"],
    ]
    told = {name: result.counts[name] for name in ("exact_copies", "same_bytes", "same_pixels", "near_copies")}
    assert told == {"exact_copies": 3, "same_bytes": 1, "same_pixels": 2, "near_copies": 1}


def test_new_pictures_are_exact_copies_of_indexed_ones(folder, tmp_path):
    new = tmp_path / "new"
    new.mkdir()
    for name in ("b.png", "d.jpg", "e.jpg"):
        (folder / name).rename(new / name)
    run_inline(folder, tmp_path / "out", report=False)
    result = run_inline(new, tmp_path / "out", report=False, run_mode=3)
    assert rows_of(tmp_path / "out" / "test_exact_copies.csv")[1:] == [
        ["b.png", "a.jpg", "pixels"],
        ["d.jpg", "c.jpg", "bytes"],
    ]
    assert (result.counts["exact_copies"], result.counts["near_copies"]) == (2, 1)


def test_pictures_that_are_gone_or_have_changed_are_copies_by_their_bytes_alone(folder, tmp_path):
    run_inline(folder, tmp_path / "out", report=False, run_mode=1)
    (folder / "b.png").unlink()
    (folder / "c.jpg").write_bytes(b"changed")
    run_inline(None, tmp_path / "out", report=False, run_mode=2)
    assert rows_of(tmp_path / "out" / "exact_copies.csv")[1:] == [["d.jpg", "c.jpg", "bytes"]]
