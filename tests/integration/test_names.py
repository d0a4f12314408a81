"""Names that are hard to write down, through whole runs."""

import os
import tempfile
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastdup_ray import RunConfig, create_duplicates_gallery, load_binary_feature
from fastdup_ray.inputs import list_images
from tests.checker import check
from tests.helpers.commands import call
from tests.helpers.images import cloudy, encode
from tests.helpers.names import HARD, name_bytes, paths_in
from tests.helpers.runs import csv_rows, run_inline


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
