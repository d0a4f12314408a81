"""A quarantine that somebody else prepared: what its journal says moves nothing but what apply moved."""

import hashlib
import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from fastdup_ray import apply_plan, undo
from fastdup_ray.errors import DamagedError, RefusedError
from tests.helpers.commands import call
from tests.helpers.plans import fill, row, state, write


@pytest.fixture
def photos(tmp_path) -> Path:
    folder = tmp_path / "photos"
    fill(folder, ["a/keep.jpg", "a/drop.jpg", "b/drop.jpg"])
    (folder / "a/drop.txt").write_text("a caption")
    return folder


@pytest.fixture
def quarantine(photos, tmp_path) -> Path:
    keeper = photos / "a/keep.jpg"
    rows = [row(keeper), row(photos / "a/drop.jpg", keeper), row(photos / "b/drop.jpg", keeper)]
    apply_plan(write(tmp_path, rows), tmp_path / "q", execute=True, any_sidecars=True)
    return tmp_path / "q"


@pytest.fixture
def victim(tmp_path) -> Path:
    path = tmp_path / "victim" / "id_rsa"
    path.parent.mkdir()
    path.write_text("secret")
    return path


def rewrite(quarantine: Path, change) -> None:
    """Changes the second line of the journal, the first move."""
    journal = quarantine / "journal/000001.jsonl"
    head, first, *rest = [json.loads(line) for line in journal.read_text().splitlines()]
    change(head, first)
    journal.write_text("".join(json.dumps(line) + "\n" for line in (head, first, *rest)))


def facts(path: Path) -> dict:
    return {"size": path.stat().st_size, "sha256": hashlib.sha256(path.read_bytes()).hexdigest(), "etag": ""}


def outside(head, move):
    move["target"] = "../victim/id_rsa"


def outside_by_a_detour(head, move):
    move["target"] = "files/../../victim/id_rsa"


def absolute_target(head, move):
    move["target"] = "/etc/hostname"


def under_another_name(head, move):
    move["source"] = move["source"].replace("drop", "other")


def elsewhere(head, move):
    move["source"], move["target"] = "/tmp/fastdup-elsewhere.jpg", "files/tmp/fastdup-elsewhere.jpg"


def not_plain(head, move):
    move["source"] = move["source"].replace("/a/", "/a/../a/")
    move["target"] = move["target"].replace("/a/", "/a/../a/")


def relative(head, move):
    move["source"] = move["source"].lstrip("/")


def with_nul(head, move):
    move["source"] += "\0"
    move["target"] += "\0"


def number(head, move):
    move["source"] = 7


def object_in_a_bucket(head, move):
    move["source"], move["target"] = "s3://bucket/a.jpg", "files/s3/bucket/a.jpg"


def negative_size(head, move):
    move["known"]["size"] = -1


def size_of_no_number(head, move):
    move["known"]["size"] = "3"


def list_of_numbers(head, move):
    move["with_"] = [1]


def roots_of_another_kind(head, move):
    head["roots"] = [3]


def no_roots(head, move):
    del head["roots"]


def unknown_member(head, move):
    move["mode"] = "0777"


ATTACKS = [
    *(
        outside,
        outside_by_a_detour,
        absolute_target,
        under_another_name,
        elsewhere,
        not_plain,
        relative,
        with_nul,
        number,
    ),
    *(object_in_a_bucket, negative_size, size_of_no_number, list_of_numbers, roots_of_another_kind, no_roots),
    unknown_member,
]


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.__name__)
def test_a_journal_that_apply_does_not_write_moves_nothing(attack, quarantine, victim, tmp_path, capsys):
    rewrite(quarantine, attack)
    before = state(tmp_path)
    with pytest.raises(DamagedError):
        undo(quarantine)
    assert call("undo", quarantine) == 1
    assert "Traceback" not in capsys.readouterr().err
    assert state(tmp_path) == before
    assert victim.read_text() == "secret"


def test_a_folder_below_files_that_became_a_link_is_not_followed(quarantine, photos, victim):
    stolen = quarantine / "files" / str(photos / "a")[1:]
    (stolen / "drop.jpg").unlink()
    (stolen / "drop.txt").unlink()
    stolen.rmdir()
    stolen.symlink_to(victim.parent)
    victim.rename(victim.parent / "drop.jpg")
    rewrite(quarantine, lambda head, move: move.update(known=facts(victim.parent / "drop.jpg")))
    undone = undo(quarantine)
    assert "a/drop.jpg" in str(undone.refused)
    assert "link" in str(undone.refused)
    assert (victim.parent / "drop.jpg").read_text() == "secret"
    assert not (photos / "a/drop.jpg").exists()
    with pytest.raises(RefusedError):
        undone.check()


def test_an_image_that_became_a_link_is_not_followed(quarantine, photos, victim):
    stolen = quarantine / "files" / str(photos / "a/drop.jpg")[1:]
    stolen.unlink()
    stolen.symlink_to(victim)
    rewrite(quarantine, lambda head, move: move.update(known=facts(victim)))
    assert [Path(name).name for name, _ in undo(quarantine).refused] == ["drop.jpg"]
    assert victim.exists()
    assert not os.path.lexists(photos / "a/drop.jpg")


@pytest.mark.parametrize("name", ["a/drop.jpg", "a/drop.txt"])
@pytest.mark.parametrize("content", [b"short", None], ids=["another size", "the same size"])
def test_what_was_put_in_its_place_stays_in_the_quarantine(name, content, quarantine, photos):
    path = quarantine / "files" / str(photos / name)[1:]
    path.write_bytes(content or bytes(path.stat().st_size))
    undone = undo(quarantine)
    assert [source for source, _ in undone.refused] == [str(photos / name)]
    assert path.exists()
    assert not (photos / name).exists()


def test_journals_of_earlier_versions_are_read(quarantine, photos):
    def age(head, move):
        head["format"] = "fastdup-ray journal 1"
        del head["roots"]

    rewrite(quarantine, age)
    assert len(undo(quarantine).restored) == 3
    assert (photos / "a/drop.txt").read_text() == "a caption"


def test_an_etag_says_nothing_of_a_local_file(photos, tmp_path):
    keeper, drop = row(photos / "a/keep.jpg"), row(photos / "a/drop.jpg", photos / "a/keep.jpg")
    for rows in (
        [keeper, replace(drop, sha256="", etag="x")],
        [replace(keeper, sha256="", etag="x"), drop],
        [keeper, replace(drop, sha256="", size=None, etag="x")],
    ):
        applied = apply_plan(write(tmp_path, rows), tmp_path / "q", execute=True, any_sidecars=True, any_plan=True)
        assert (len(applied.moved), len(applied.refused)) == (0, 1)
