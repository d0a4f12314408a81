"""Runs on videos."""

import importlib.util
import os
import re
import sys
from pathlib import Path

import pytest

from fastdup_ray import RunConfig, create_duplicates_gallery
from fastdup_ray.errors import InputError
from fastdup_ray.extract.video import describe_decoder
from fastdup_ray.inputs import Part, find_part, list_images
from tests.helpers.images import save_cloudy
from tests.helpers.runs import csv_rows, deadline, run_inline
from tests.helpers.videos import SIZE, differ, make_clip, shown_at


def names(work_dir: Path) -> list[str]:
    return [row[1] for row in csv_rows(work_dir / "features.dat.csv")[1:]]


def bad(work_dir: Path) -> dict[str, str]:
    return {os.path.basename(row[0]): row[1] for row in csv_rows(work_dir / "features.bad.csv")[1:]}


def test_a_run_on_videos_and_pictures(tmp_path):
    folder = tmp_path / "in"
    paths = save_cloudy(folder, 3, SIZE)
    make_clip(folder / "clip, one.mp4", 3, codec="libx264")
    make_clip(folder / "single.mov", times=[0], first=50)
    data = make_clip(tmp_path / "whole.mp4", 3).read_bytes()
    (folder / "copy 1.mp4").write_bytes(data)
    (folder / "copy 2.mp4").write_bytes(data)
    (folder / "cut.mp4").write_bytes(data[: len(data) // 2])
    (folder / "empty.mp4").write_bytes(b"")
    result = run_inline(folder, tmp_path / "out", nearest_neighbors_k=6, shard_size=3)
    times = ("0.000", "1.000", "2.000")
    clips = [f"{folder}/{name}#t={time}" for name in ("clip, one.mp4", "copy 1.mp4", "copy 2.mp4") for time in times]
    assert names(tmp_path / "out") == [*map(str, paths), *clips, f"{folder}/single.mov#t=0.000"]
    assert bad(tmp_path / "out") == {"cut.mp4": "TRUNCATED", "empty.mp4": "ZERO_SIZE"}
    assert (result.counts["entries"], result.counts["images"], result.counts["exact_copies"]) == (9, 13, 3)
    pairs = {tuple(row[:2]) for row in csv_rows(tmp_path / "out" / "similarity.csv")[1:]}
    assert (str(paths[1]), f"{folder}/clip, one.mp4#t=1.000") in pairs  # the frame of the same picture
    assert result.images["format"].to_pylist().count("H264") == 3

    page = (tmp_path / "out" / "report" / "index.html").read_text()
    gallery = Path(create_duplicates_gallery(tmp_path / "out" / "similarity.csv", tmp_path / "gallery")).read_text()
    page = re.sub(r"<script>.*?</script>", "", page, flags=re.DOTALL)  # it has sentences for whatever may happen
    for text in (page, gallery):
        assert "clip, one.mp4#t=1.000" in text
        assert "cannot be decoded" not in text
        assert text.count("data:image/") >= 6
    from tests.checker import check

    assert check(tmp_path / "out", folder) == []

    again = run_inline(tmp_path / "out" / "features.dat.csv", tmp_path / "again")
    for name in ("features.dat", "features.dat.csv"):
        assert (tmp_path / "again" / name).read_bytes() == (tmp_path / "out" / name).read_bytes()
    assert again.counts["exact_copies"] == 3


def test_rows_of_videos_are_reused_unless_other_frames_are_asked_for(tmp_path):
    folder = tmp_path / "in"
    save_cloudy(folder, 1)
    make_clip(folder / "x.mp4", 3)
    first = run_inline(folder, tmp_path / "out", report=False)
    assert (first.summary["read"], first.counts["images"]) == (2, 4)
    assert run_inline(folder, tmp_path / "out", report=False).summary["read"] == 0
    faster = run_inline(folder, tmp_path / "out", report=False, video_fps=2)
    assert (faster.summary["read"], faster.counts["images"]) == (1, 7)
    fewer = run_inline(folder, tmp_path / "out", report=False, video_fps=2, max_frames=5)
    assert (fewer.summary["read"], fewer.counts["images"]) == (1, 1)
    assert bad(tmp_path / "out") == {"x.mp4": "TOO_LARGE"}


def test_rows_do_not_depend_on_how_the_work_is_cut(tmp_path):
    folder = tmp_path / "in"
    save_cloudy(folder, 5)
    for number in range(3):
        make_clip(folder / f"{number:04d}.mp4", 3 + number, first=10 * number)
    run_inline(folder, tmp_path / "a", report=False)
    run_inline(folder, tmp_path / "b", report=False, shard_size=1)
    run_inline(folder, tmp_path / "c", report=False, num_threads=3, shard_size=100)
    for name in ("features.dat", "features.dat.csv", "similarity.csv", "manifest.parquet"):
        assert len({(tmp_path / out / name).read_bytes() for out in "abc"}) == 1


def test_offsets_count_a_video_as_one(tmp_path):
    folder = tmp_path / "in"
    save_cloudy(folder, 2)
    for number in range(2):
        make_clip(folder / f"{number:04d}.mp4", 2, first=10 * number)
    for low, high in ((0, 3), (3, 4)):
        run_inline(folder, tmp_path / "out", run_mode=1, min_offset=low, max_offset=high)
    run_inline(None, tmp_path / "out", run_mode=2, report=False)
    whole = tmp_path / "whole"
    run_inline(folder, whole, report=False)
    for name in ("features.dat", "features.dat.csv", "similarity.csv", "manifest.parquet", "images.parquet"):
        assert (tmp_path / "out" / name).read_bytes() == (whole / name).read_bytes()


def test_a_frame_that_takes_too_long_makes_its_video_bad_and_no_other(tmp_path, monkeypatch):
    import time

    from fastdup_ray.extract import extractor

    folder = tmp_path / "in"
    save_cloudy(folder, 1)
    make_clip(folder / "slow.mp4", 3)
    make_clip(folder / "steady.mp4", 4, first=10)
    decoded = extractor.decode_image

    def slow(image, *arguments, **keywords):
        time.sleep(60 if differ(image, shown_at(2)) < 20 else 0.4)
        return decoded(image, *arguments, **keywords)

    monkeypatch.setattr(extractor, "decode_image", slow)
    with deadline(50):
        run_inline(folder, tmp_path / "out", report=False, image_timeout=5)
    assert bad(tmp_path / "out") == {"slow.mp4": "TIMEOUT"}
    assert len(names(tmp_path / "out")) == 5


def test_a_file_with_the_name_of_a_frame_is_that_file(tmp_path):
    clip = make_clip(tmp_path / "clip.mp4", 2)
    (file,) = save_cloudy(tmp_path / "other", 1)
    assert find_part(f"{clip}#t=1.000") == Part(str(clip), 1000)
    file.rename(f"{clip}#t=1.000")
    assert find_part(f"{clip}#t=1.000") == Part(f"{clip}#t=1.000")
    (tmp_path / "list").write_text(f"{clip}#t=1.000\n{clip}#t=0.000\n{file}#t=0.000\n{tmp_path}/gone.mp4#t=0.000\n")
    result = run_inline(tmp_path / "list", tmp_path / "out")
    assert result.images["format"].to_pylist() == ["JPEG", "MPEG4"]
    assert bad(tmp_path / "out") == {"0000.jpg#t=0.000": "MISSING", "gone.mp4#t=0.000": "MISSING"}


def test_a_video_without_a_suffix_is_taken_when_it_is_named(tmp_path):
    make_clip(tmp_path / "clip.mp4", 2).rename(tmp_path / "clip")
    run_inline(tmp_path / "clip", tmp_path / "out", report=False)
    assert names(tmp_path / "out") == [f"{tmp_path}/clip#t=0.000", f"{tmp_path}/clip#t=1.000"]


def test_without_pyav_a_video_is_unsupported_and_nothing_but_videos_is_an_error(tmp_path, monkeypatch):
    folder = tmp_path / "in"
    make_clip(folder.parent / "x.mp4", 2)
    save_cloudy(folder, 1)
    (tmp_path / "x.mp4").rename(folder / "x.mp4")
    monkeypatch.setitem(sys.modules, "av", None)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    describe_decoder.cache_clear()
    try:
        run_inline(folder, tmp_path / "out", report=False)
        (row,) = csv_rows(tmp_path / "out" / "features.bad.csv")[1:]
        assert row[1] == "UNSUPPORTED"
        assert "pip install 'fastdup-ray[video]'" in row[2]
        with pytest.raises(InputError, match=r"All inputs are videos, such as .*fastdup-ray\[video\]"):
            list(list_images(RunConfig.of(input_dir=folder / "x.mp4")))
    finally:
        describe_decoder.cache_clear()
    monkeypatch.undo()
    assert run_inline(folder, tmp_path / "out", report=False).counts["images"] == 3
