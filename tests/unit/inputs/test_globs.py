"""Globs that say which files are taken."""

import os
from pathlib import Path

import pytest

from fastdup_ray import RunConfig
from fastdup_ray.errors import ConfigError
from fastdup_ray.inputs import check_inputs, list_images
from fastdup_ray.inputs.globs import Patterns
from tests.helpers.archives import pack


@pytest.mark.parametrize(
    ("pattern", "taken", "left"),
    [
        ("*.jpg", ["x.jpg", "a/b/x.jpg", ".jpg", "X.JPG"], ["x.jpg.png", "x.jpeg"]),
        ("x?.jpg", ["x1.jpg", "a/xé.jpg", "x\n.jpg"], ["x.jpg", "x12.jpg", "x/.jpg"]),
        ("a/*.jpg", ["a/x.jpg"], ["x.jpg", "a/b/x.jpg", "b/a/x.jpg"]),
        ("a/**", ["a/x.jpg", "a/b/c/x.jpg"], ["b/a/x.jpg", "a.jpg", "ab/x.jpg"]),
        ("**/x.jpg", ["x.jpg", "a/x.jpg", "a/b/x.jpg"], ["a/xx.jpg"]),
        ("a/**/x.jpg", ["a/x.jpg", "a/b/x.jpg", "a/b/c/x.jpg"], ["x.jpg", "ax.jpg", "b/a/x.jpg"]),
        ("a", ["a", "a/x.jpg", "b/a/x.jpg"], ["aa/x.jpg", "b/aa"]),
        ("a/", ["a/x.jpg", "b/a/x.jpg"], ["ab/x.jpg"]),
        ("./a/x.jpg", ["a/x.jpg"], ["b/a/x.jpg"]),
        ("/x.jpg", ["x.jpg", "/x.jpg"], ["a/x.jpg"]),
        ("/data/*/x.jpg", ["/data/1/x.jpg"], ["/data/x.jpg", "/more/data/1/x.jpg"]),
        ("[ab]*.jpg", ["a1.jpg", "b.jpg", "A.jpg"], ["c.jpg"]),
        ("[!ab]*.jpg", ["c.jpg", "x/c.jpg"], ["a.jpg"]),
        ("[a-c].jpg", ["b.jpg"], ["d.jpg", "-.jpg"]),
        ("[]x].jpg", ["].jpg", "x.jpg"], ["[].jpg"]),
        ("[.jpg", ["[.jpg"], ["x.jpg"]),
        ("a+(b).jpg", ["a+(b).jpg"], ["aab.jpg", "ab.jpg"]),
        ("*.tar", ["a.tar!/x.jpg", "b/a.tar!/c/x.jpg"], ["a.tar.jpg"]),
        ("a.tar!/b/*", ["a.tar!/b/x.jpg"], ["a.tar!/x.jpg", "a.tar!/c/x.jpg"]),
        (os.fsdecode(b"caf\xe9*"), [os.fsdecode(b"caf\xe9.jpg")], ["café.jpg"]),
    ],
)
def test_what_a_pattern_matches(pattern, taken, left):
    include, exclude = Patterns([pattern], []), Patterns([], [pattern])
    assert [name for name in taken if not include.keep(name) or exclude.keep(name)] == []
    assert [name for name in left if include.keep(name) or not exclude.keep(name)] == []


def test_without_patterns_everything_is_taken():
    assert Patterns([], []).keep("a/b.jpg")


def test_several_patterns_and_exclude_goes_before_include():
    patterns = Patterns(["*.jpg", "*.png"], ["thumbs", "x.*"])
    kept = ["a.jpg", "b/c.png", "d.gif", "thumbs/a.jpg", "b/thumbs/a.jpg", "b/x.png"]
    assert [name for name in kept if patterns.keep(name)] == ["a.jpg", "b/c.png"]


def test_a_pattern_that_is_none_is_refused():
    with pytest.raises(ConfigError, match=r"'\[z-a\]\.jpg' is not a valid glob"):
        check_inputs(RunConfig.of(input_dir=".", exclude="[z-a].jpg"))
    for wrong in ([""], [1], 1):
        with pytest.raises(ConfigError, match="include"):
            RunConfig.of(input_dir=".", include=wrong)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("a.jpg", "b.png", "sub/c.jpg", "sub/deep/d.jpg", "thumbs/a.jpg"):
        path = tmp_path / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(os.fsencode(name))
    pack(tmp_path / "in" / "x.zip", {"e.jpg": b"e", "f.png": b"f"})
    return tmp_path / "in"


def below(folder: Path, **parameters: object) -> list[str]:
    refs = list_images(RunConfig.of(input_dir=folder, **parameters))
    return [os.path.relpath(ref.uri, folder) for ref in refs]


def test_patterns_are_of_the_path_from_the_input_folder_on(folder):
    assert below(folder, include="*.png") == ["b.png", "x.zip!/f.png"]
    assert below(folder, include=["sub/*"], exclude="**/d.*") == ["sub/c.jpg"]
    assert below(folder, exclude=["sub", "x.zip"]) == ["a.jpg", "b.png", "thumbs/a.jpg"]
    assert below(folder, include=("in",)) == []


def test_patterns_are_of_the_whole_name_in_a_list(folder, tmp_path):
    (tmp_path / "list").write_text(f"{folder}/a.jpg\n{folder}/sub/c.jpg\n{folder}/x.zip\n")
    taken = [
        ref.uri for ref in list_images(RunConfig.of(input_dir=tmp_path / "list", include=["c.jpg", f"{folder}/*.jpg"]))
    ]
    assert taken == [f"{folder}/a.jpg", f"{folder}/sub/c.jpg"]
    assert len(list(list_images(RunConfig.of(input_dir=tmp_path / "list", exclude="x.zip")))) == 2


def test_an_excluded_folder_is_not_looked_at(folder, monkeypatch):
    looked_at = []
    scandir = os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: looked_at.append(os.path.basename(path)) or scandir(path))
    below(folder, exclude=["sub"])
    assert looked_at == ["in", "thumbs"]


def test_a_damaged_archive_is_told_of_whatever_is_included(folder):
    (folder / "x.zip").write_bytes(b"PK\3\4")
    assert below(folder, include="*.png") == ["b.png", "x.zip"]
    assert below(folder, include="*.png", exclude="*.zip") == ["b.png"]


def test_of_two_links_the_excluded_one_hides_nothing(folder):
    (folder / "z.jpg").hardlink_to(folder / "a.jpg")
    assert "z.jpg" in below(folder, exclude="/a.jpg")
