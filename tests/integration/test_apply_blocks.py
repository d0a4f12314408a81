"""`apply` and `undo` of plans that are worked on part by part, and kept on disk."""

import os
import random
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest

from fastdup_ray import apply_plan, undo
from fastdup_ray.curation import apply, folders, moves, plan, sidecar_check
from fastdup_ray.curation.file_ops import FileIdentity, local
from fastdup_ray.curation.journal import Move, Quarantine
from fastdup_ray.curation.plan import Plan
from fastdup_ray.curation.plan_row import PlanRow
from fastdup_ray.storage import disk_list
from tests.helpers.plans import contents, fill, row, state, write

PER_ROW = 150
"""Bytes of memory."""

FEW, MANY = 1_000, 5_000


@pytest.fixture
def small_blocks(monkeypatch) -> None:
    """Everything is worked on a few at a time, and on disk at once."""
    monkeypatch.setattr(disk_list, "ITEMS_AT_ONCE", 2)
    monkeypatch.setattr(plan, "ROWS_AT_ONCE", 3)
    monkeypatch.setattr(moves, "ROWS_AT_ONCE", 2)
    monkeypatch.setattr(local, "_MOST_CHECKED", 2)


def test_a_plan_in_another_order_is_carried_out_part_by_part(small_blocks, tmp_path):
    """Keepers come after their duplicates, folders alternate, some files changed, and some names differ in case."""
    folder, quarantine, draw = tmp_path / "photos", tmp_path / "q", random.Random(1)
    keepers = fill(folder, [f"{n % 3}/keep{n}.jpg" for n in range(5)])
    gone = fill(folder, [*(f"{n % 3}/gone{n}.jpg" for n in range(20)), "0/GONE0.jpg", "1/\udcff.jpg"])
    captions = fill(folder, ["0/gone0.txt", "0/gone3.txt", "1/gone4.txt", "1/keep1.txt"])
    rows = [*map(row, keepers), *(row(path, draw.choice(keepers)) for path in gone)]
    draw.shuffle(rows)
    written = write(tmp_path, rows)
    gone[4].write_bytes(b"changed")
    gone[5].unlink()
    before, everything = state(folder), contents(folder)
    applied = apply_plan(written, quarantine, execute=True, any_sidecars=True)
    assert {Path(name).name for name, _ in applied.refused} == {"gone4.jpg", "gone4.txt", "gone5.jpg"}
    dropped = [each.filename for each in rows if each.is_dropped and Path(each.filename) not in gone[4:6]]
    assert [move.source for move in applied.moved if not move.with_] == dropped
    # gone0.txt belongs to gone0.jpg and, on some disks, to GONE0.jpg: both go
    assert {Path(move.source) for move in applied.moved if move.with_} == {captions[0], captions[1]}
    targets = [move.target.casefold() for move in applied.moved]
    assert len({*targets}) == len(targets) == 22
    assert contents(folder, quarantine / "files") == everything
    again = apply_plan(written, quarantine, execute=True, any_sidecars=True)
    assert (len(again.moved), again.already_moved, len(again.refused)) == (0, 20, 3)
    undone = undo(quarantine)
    assert [move.source for move in undone.restored] == [move.source for move in reversed(applied.moved)]
    assert state(folder) == before


def test_files_that_went_more_than_once_come_back_once(small_blocks, tmp_path):
    folder, quarantine = tmp_path / "photos", tmp_path / "q"
    keeper, *gone = fill(folder, ["keep.jpg", *(f"{n}.jpg" for n in range(5))])
    before = state(folder)
    for count in (5, 2, 4):
        written = write(tmp_path, [row(keeper), *(row(path, keeper) for path in gone[:count])])
        assert len(apply_plan(written, quarantine, execute=True).moved) == count
        assert [Path(move.source) for move in undo(quarantine).restored] == gone[:count][::-1]
        assert state(folder) == before
    assert len(os.listdir(quarantine / "journal")) == 3
    targets = [Path(move.target).name for move in Quarantine(quarantine).read_moves()]
    assert targets == ["4.jpg", "0.jpg", "1.jpg", "2.jpg", "3.jpg"]


def make_rows(count: int) -> Iterator[PlanRow]:
    """A plan that drops every second image. No file of it exists."""
    for number in range(count):
        name = f"/pictures/{number // 1000:06d}/{number:09d}.jpg"
        digest = f"{number:064x}"
        yield PlanRow(name, "keep", number // 2, "", None, "bytes", "why", 3000, digest, "", False)
        if number % 2:
            kept = f"/pictures/{number // 1000:06d}/{number - 1:09d}.jpg"
            yield PlanRow(f"{name}.png", "drop", number // 2, kept, 0.99, "bytes", "why", 3000, digest, "", False)


def measure_apply(count: int, tmp_path: Path) -> tuple[int, int]:
    """Return the rows of a plan, and the most bytes that Python had while it was checked and carried out."""
    tracemalloc.start()
    try:
        whole = Plan(make_rows(count))
        quarantine = Quarantine(tmp_path / "q")
        result = apply.ApplyResult("q", executed=False)
        asked = moves.plan_moves(whole, quarantine)
        call = apply._ApplyCall(whole, asked, result, apply.ignore_line, quarantine)
        call.run(lambda move: None, apply.track_silently)
        assert len(result.refused) == count // 2
        return len(whole), tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def measure_undo(count: int, tmp_path: Path) -> tuple[int, int]:
    quarantine = Quarantine(tmp_path / str(count))
    quarantine.prepare()
    quarantine.write(
        [
            Move(each.filename, quarantine.get_target(each.filename), FileIdentity(3000, each.sha256), each.keeper)
            for each in make_rows(count)
        ]
    )
    tracemalloc.start()
    try:
        lost = len(undo(quarantine.location).lost)
        return lost, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("measure", [measure_apply, measure_undo])
def test_of_a_large_plan_each_row_takes_little_memory(measure, tmp_path, monkeypatch):
    monkeypatch.setattr(disk_list, "ITEMS_AT_ONCE", 1 << 5)
    for module in (plan, moves):
        monkeypatch.setattr(module, "ROWS_AT_ONCE", 1 << 8)
    for module in (folders, sidecar_check):
        monkeypatch.setattr(module, "ROWS_PER_GROUP", 1 << 8)
    measure(10, tmp_path)  # imports, caches
    (few, less), (many, more) = measure(FEW, tmp_path), measure(MANY, tmp_path)
    assert more - less < PER_ROW * (many - few)
