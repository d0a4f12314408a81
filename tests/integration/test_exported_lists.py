"""A list of images to keep, exported and given to the next run: it finds the same images, whatever their names are."""

import io
import os
import tarfile
import zipfile
from pathlib import Path

import pytest

from fastdup_ray import export, load_binary_feature
from fastdup_ray.errors import InputError
from tests.helpers.images import cloudy, encode
from tests.helpers.runs import run_inline
from tests.helpers.videos import make_clip

ODD = (
    *(" leads", "trails ", "\ttab", "tab\t", "nbsp\u00a0", "\u3000wide", "vertical\x0b", "form\x0c", "\x85next"),
    *("a,b.jpg", "a;b.jpg", "a|b.jpg", "a\tb.jpg", "filename", "path,label", "sep=,", "index,filename"),
    *('"quoted"', '"opens', "it's", "'single'", '""'),
    *("#", "# c", "#c", "~", "~root", "-", "--null"),
    *("back\\slash", "C:\\x", "%41", "x.jpg#t=1.000", "a!b", "file:", "s3:", "\ufeffmark", "\x01control", "mid\rdle"),
    *(b"latin\xe9.jpg", "cp1252 \u00e9", b"\xff\xfe"),
)
URI_LIKE = ("uris/s3:/bucket/key.jpg", "uris/http:/host/x.jpg", "uris/file:/etc/x.jpg")
BREAKS = ("new\nline", "ends\n", "\nbegins", "ends\r", "both\r\n")


def save(folder: Path, names) -> list[bytes]:
    """Save an image of its own under each name; return the paths."""
    paths = [os.path.join(os.fsencode(folder), os.fsencode(name)) for name in names]
    for seed, path in enumerate(paths):
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(encode(cloudy(seed), "PNG"))
    return paths


def save_list(path: Path, names: list[bytes]) -> Path:
    path.write_bytes(b"".join(name + b"\0" for name in names))
    return path


def names_again(work_dir: Path, *, null: bool) -> list[str]:
    """What a run on the exported list finds."""
    keep, again = work_dir.with_name("keep"), work_dir.with_name("again")
    export(work_dir, "keep-list", keep, null=null, overwrite=True)
    result = run_inline(keep, again, overwrite=True, report=False)
    assert result.counts["bad"] == 0
    return load_binary_feature(again)[0]


@pytest.mark.parametrize("null", [False, True])
def test_every_file_is_found_again(tmp_path, null):
    names = (*ODD, *URI_LIKE, *(BREAKS if null else ()))
    paths = save(tmp_path / "in", names)
    run_inline(save_list(tmp_path / "list", paths), tmp_path / "out", report=False)
    kept = load_binary_feature(tmp_path / "out")[0]
    assert len(kept) == len(names)
    assert names_again(tmp_path / "out", null=null) == kept


@pytest.mark.parametrize("null", [False, True])
def test_frames_and_members_of_archives_are_found_again(tmp_path, null):
    folder = tmp_path / "in"
    folder.mkdir()
    make_clip(folder / " clip, a.mp4", seconds=2)
    make_clip(folder / "#t.mp4", seconds=2, first=20)
    members = ["a, b.jpg", " c.jpg", "./d.jpg", "e!/f.jpg", "back\\slash.jpg", "http://h/g.jpg", "s3:/h.jpg"]
    members += ["new\nline.jpg"] if null else []
    with tarfile.open(folder / "x, y.tar", "w") as archive:
        for seed, name in enumerate(members, 100):
            data = encode(cloudy(seed), "JPEG")
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    with zipfile.ZipFile(folder / "#z.zip", "w") as archive:
        for seed, name in enumerate(members[:3], 200):
            archive.writestr(name, encode(cloudy(seed), "JPEG"))
    run_inline(folder, tmp_path / "out", report=False)
    kept = load_binary_feature(tmp_path / "out")[0]
    assert len(kept) == 4 + len(members) + 3
    assert names_again(tmp_path / "out", null=null) == kept


@pytest.mark.parametrize("name", ["filename", "# c", "a,b.jpg", '"opens', b"\xff\xfe", "sep=,", "mid\rdle", "trails "])
def test_a_list_of_one_is_found_again(tmp_path, name):
    """What the first line says decides how a list is read."""
    run_inline(save_list(tmp_path / "list", save(tmp_path / "in", [name])), tmp_path / "out", report=False)
    kept = load_binary_feature(tmp_path / "out")[0]
    for null in (False, True):
        assert names_again(tmp_path / "out", null=null) == kept


@pytest.mark.parametrize("name", BREAKS)
def test_line_breaks_need_null(tmp_path, name):
    run_inline(save_list(tmp_path / "list", save(tmp_path / "in", [name])), tmp_path / "out", report=False)
    with pytest.raises(InputError, match="null=True") as error:
        export(tmp_path / "out", "keep-list", tmp_path / "keep")
    assert "\n" not in str(error.value)
    assert not (tmp_path / "keep").exists()
    assert names_again(tmp_path / "out", null=True) == load_binary_feature(tmp_path / "out")[0]


@pytest.mark.parametrize("null", [False, True])
def test_objects_are_found_again(bucket, tmp_path, null):
    names = [" leads.jpg", "a, b.jpg", '"quoted".jpg', "#c.jpg", "~d.jpg", "s3:/e.jpg", "f%41.jpg", "\u00fc.jpg"]
    for seed, name in enumerate(names):
        bucket.put(name, encode(cloudy(seed), "JPEG"))
    run_inline(bucket.pictures, tmp_path / "out", report=False)
    kept = load_binary_feature(tmp_path / "out")[0]
    assert len(kept) == len(names)
    assert names_again(tmp_path / "out", null=null) == kept
