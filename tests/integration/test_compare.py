"""The command `compare`."""

import json
from pathlib import Path

import pytest

import fastdup_ray as fastdup
from tests.helpers.commands import call


def test_it_says_what_two_files_are_to_each_other(photo, tmp_path: Path, capsys):
    part = tmp_path / "part.png"
    photo.crop((0, 0, photo.width // 2, photo.height)).save(part)
    whole = tmp_path / "whole.jpg"
    photo.save(whole, quality=80)
    assert call("compare", whole, part) == 0
    assert capsys.readouterr().out.startswith("cropped: ")
    assert call("compare", whole, part, "--json") == 0
    facts = json.loads(capsys.readouterr().out)
    result = fastdup.compare(whole, str(part))
    assert facts == result.as_dict()
    assert result.relation == "cropped"
    assert result.cover_first == pytest.approx(0.5, abs=0.02)
    assert result.box is None


def test_a_file_is_the_same_as_itself_whatever_it_holds(tmp_path: Path, photo):
    photo.save(tmp_path / "many.gif", save_all=True, append_images=[photo.rotate(angle) for angle in range(1, 40)])
    assert fastdup.compare(tmp_path / "many.gif", tmp_path / "many.gif").relation == "same"


@pytest.mark.parametrize(("name", "content"), [("gone.png", None), ("text.png", b"text"), ("empty.png", b"")])
def test_what_cannot_be_compared_is_one_line(tmp_path: Path, photos: Path, name, content, capsys):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    assert call("compare", photos / "originals/cat.jpg", tmp_path / name) == 1
    err = capsys.readouterr().err
    assert name in err
    assert err.count("\n") == 1
    with pytest.raises(fastdup.FastdupError):
        fastdup.compare(tmp_path / name, tmp_path / name)
