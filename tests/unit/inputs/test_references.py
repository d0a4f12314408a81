"""Which pictures are of a `--reference` input."""

import os

import pytest

from fastdup_ray import RunConfig
from fastdup_ray.errors import ConfigError
from fastdup_ray.inputs.references import reference_mask
from fastdup_ray.storage.tables import encode_names


@pytest.mark.parametrize("place", ["/p/originals", "/p/originals/"])
def test_what_is_below_a_folder_is_of_it_and_nothing_else(place):
    names = ["/p/originals/a.jpg", "/p/originals/x/b.jpg", "/p/originals2/c.jpg", "/else/p/originals/d.jpg"]
    assert reference_mask([place], encode_names(names)).tolist() == [True, True, False, False]


def test_members_of_an_archive_and_one_picture_are_of_it():
    names = encode_names(["/p/a.tar!/x.jpg", "/p/a.tar2/x.jpg", "/p/b.jpg", "/p/b.jpg2"])
    assert reference_mask(["/p/a.tar", "/p/b.jpg"], names).tolist() == [True, False, True, False]


def test_what_a_list_names_is_of_it(tmp_path):
    (tmp_path / "list").write_text("/p/b.jpg\n")
    assert reference_mask([str(tmp_path / "list")], encode_names(["/p/a.jpg", "/p/b.jpg"])).tolist() == [False, True]


def test_frames_are_of_the_video_that_a_list_names(tmp_path):
    (tmp_path / "list").write_text("/p/v.mp4\n")
    names, videos = encode_names(["/p/v.mp4#t=1.000", "/p/w.mp4#t=1.000"]), encode_names(["/p/v.mp4", "/p/w.mp4"])
    assert reference_mask([str(tmp_path / "list")], names, videos).tolist() == [True, False]


def test_names_that_are_not_utf8_are_told_too():
    names = encode_names([os.fsdecode(b"/p/\xff/a.jpg"), "/p/a.jpg"])
    assert reference_mask([os.fsdecode(b"/p/\xff")], names).tolist() == [True, False]


@pytest.mark.parametrize("mode", [3, 4])
def test_a_scoring_takes_no_reference(mode):
    with pytest.raises(ConfigError, match="reference is not possible in run_mode"):
        RunConfig.of(input_dir="x", reference="y", run_mode=mode)
