"""From a plan to the moves that carry it out: where each file goes, which sidecars go along, what cannot be moved."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from fastdup_ray.common.arrays import BoolArray, split_array
from fastdup_ray.common.locations import is_remote
from fastdup_ray.common.row_index import RowIndex
from fastdup_ray.common.seen import SeenNames
from fastdup_ray.curation.file_ops import FileIdentity, FileMover, get_file_mover
from fastdup_ray.curation.folders import group_by_folder
from fastdup_ray.curation.journal import Move, Quarantine
from fastdup_ray.curation.plan import ROWS_AT_ONCE, Plan
from fastdup_ray.curation.plan_row import PlanRow
from fastdup_ray.curation.sidecar_check import find_unique_sidecars
from fastdup_ray.errors import RefusedError
from fastdup_ray.inputs import get_box, is_standalone_file
from fastdup_ray.inputs.sidecars import Sidecar, find_sidecars
from fastdup_ray.storage.disk_list import DiskList


@dataclass
class MovePlan:
    """What a plan of n rows asks for.

    Attributes:
        moves: Those that are left to do: images, then sidecars.
        is_moved: (n,) whether an earlier call has moved an image.
        refused: Name and reason of each image that cannot be moved.
        held: How many of these stay because of their sidecars.
    """

    moves: DiskList[Move]
    is_moved: BoolArray
    refused: DiskList[tuple[str, str]]
    held: int = 0


def plan_moves(plan: Plan, quarantine: Quarantine, *, any_sidecars: bool = False) -> MovePlan:
    """Return the moves that a plan asks for and no earlier call has made.

    Args:
        plan: The plan.
        quarantine: Where the files go.
        any_sidecars: Move images even if they have sidecars that their keepers lack, or have with other content.
    """
    found = MovePlan(DiskList(plan.scratch), np.zeros(len(plan), bool), DiskList(plan.scratch))
    mover, targets = get_file_mover(quarantine.location, quarantine.access), _Targets(quarantine)
    leaves = np.zeros(len(plan), bool)
    held: dict[int, str] = {}
    if not any_sidecars:
        held = find_unique_sidecars(plan.names, np.arange(len(plan)), plan.keeper, quarantine.access, plan.scratch)
    for rows in split_array(np.flatnonzero(plan.is_dropped), ROWS_AT_ONCE):
        files: list[tuple[PlanRow, FileIdentity]] = []
        for number in rows.tolist():
            row = plan[number]
            identity = make_identity(row)
            try:
                _refuse_impossible(row, plan[int(plan.keeper[number])], quarantine, mover)
                if mover.exists(row.filename):
                    if number in held:
                        found.held += 1
                        raise RefusedError(held[number])
                    files.append((row, identity))
                elif targets.contains(row.filename, identity):
                    found.is_moved[number] = True
                else:
                    raise RefusedError("it is gone")
                leaves[number] = True
            except RefusedError as error:
                found.refused.append((row.filename, str(error)))
        chosen = targets.choose([(row.filename, identity) for row, identity in files])
        for (row, identity), target in zip(files, chosen, strict=True):
            found.moves.append(Move(row.filename, target, identity, keeper=row.keeper))
    for sidecars in _iter_leaving_sidecars(plan, leaves, mover):
        identities = [_describe_sidecar(mover, quarantine.resolve(sidecar.name)) for sidecar in sidecars]
        chosen = targets.choose([(sidecar.name, its) for sidecar, its in zip(sidecars, identities, strict=True)])
        for sidecar, target, its in zip(sidecars, chosen, identities, strict=True):
            found.moves.append(Move(sidecar.name, target, its, with_=sidecar.images))
    return found


def make_identity(row: PlanRow) -> FileIdentity:
    """Return what the image of a row is compared with. A local file has no ETag, whatever the row says."""
    return FileIdentity(row.size, row.sha256, row.etag if is_remote(row.filename) else "")


def _refuse_impossible(row: PlanRow, keeper: PlanRow, quarantine: Quarantine, mover: FileMover) -> None:
    """Raise `RefusedError` if the image of a row cannot be moved to the quarantine, whatever is on the disk."""
    if not is_standalone_file(row.filename, quarantine.access):
        if get_box(row.filename) is not None:
            raise RefusedError("it is a box of a photo, which stays: export the annotations without it")
        raise RefusedError("it is in an archive, or a frame of a video, and cannot be moved")
    if get_box(keeper.filename) is not None:
        raise RefusedError("its keeper is a box of a photo, and no file is moved because of a box")
    if get_file_mover(row.filename, quarantine.access) is not mover:
        other = "a prefix of a bucket" if is_remote(row.filename) else "a local folder"
        raise RefusedError(f"it cannot be moved to {quarantine.location!r}: use {other} as the quarantine")
    if quarantine.contains(row.filename):
        raise RefusedError("it is in the quarantine itself")
    for each, whose in ((row, "its"), (keeper, "its keeper's")):
        if not each.sha256 and not (each.etag and is_remote(each.filename)):
            raise RefusedError(f"{whose} digest is not in the plan, so a change since the run would go unnoticed")


class _Targets:
    """Names in a quarantine: those that earlier calls chose, and new ones that nothing has yet."""

    def __init__(self, quarantine: Quarantine) -> None:
        self._quarantine, self._mover = quarantine, get_file_mover(quarantine.location, quarantine.access)
        # Another file that has the name of one that was moved before gets a target of its own.
        self._earlier = quarantine.read_moves()
        self._index = RowIndex(map(_get_file, self._earlier), len(self._earlier), self._get_earlier_file)
        self._taken = SeenNames()
        """In lower case, as the file system of a quarantine may ignore case."""
        for rows in split_array(np.arange(len(self._earlier)), ROWS_AT_ONCE):
            self._take([move.target for move in self._earlier[rows[0] : rows[-1] + 1]])

    def contains(self, source: str, identity: FileIdentity) -> bool:
        """Return whether an earlier call moved this file, and it is still in the quarantine."""
        target = self._find_earlier(source, identity)
        return target is not None and self._mover.exists(target)

    def choose(self, files: Sequence[tuple[str, FileIdentity]]) -> list[str]:
        """Return the target of each file: the one of an earlier call, else a new one."""
        earlier = [self._find_earlier(source, identity) for source, identity in files]
        firsts = [self._quarantine.get_target(source) for source, _ in files]
        new = [first for first, target in zip(firsts, earlier, strict=True) if target is None]
        is_free = iter(self._take(new).tolist())
        return [
            (first if next(is_free) and not self._mover.exists(first) else self._number(first))
            if target is None
            else target
            for first, target in zip(firsts, earlier, strict=True)
        ]

    def _number(self, first: str) -> str:
        """Return a target with a number, as its own name is taken."""
        root, suffix = os.path.splitext(first)
        number = 2
        while not self._take([target := f"{root} ({number}){suffix}"])[0] or self._mover.exists(target):
            number += 1
        return target

    def _take(self, targets: Sequence[str]) -> BoolArray:
        """Take names; return whether each was free."""
        return self._taken.add([os.fsencode(target.casefold()) for target in targets])

    def _find_earlier(self, source: str, identity: FileIdentity) -> str | None:
        row = self._index.find((source, identity))
        return None if row < 0 else self._earlier[row].target

    def _get_earlier_file(self, row: int) -> tuple[str, FileIdentity]:
        return _get_file(self._earlier[row])


def _get_file(move: Move) -> tuple[str, FileIdentity]:
    return move.source, move.known


def _iter_leaving_sidecars(plan: Plan, leaves: BoolArray, mover: FileMover) -> Iterator[list[Sidecar]]:
    """Yield the sidecars whose images all leave, folder by folder.

    Args:
        plan: The plan.
        leaves: (n,) whether an image is moved, or was by an earlier call.
        mover: Of the quarantine.
    """
    for images in group_by_folder(plan.names, np.arange(len(plan))):
        leaving = {name for name, row in images.items() if leaves[row]}
        if not leaving:
            continue
        try:
            files = mover.list_siblings(next(iter(images)))
        except RefusedError:
            continue  # the images of this folder cannot be moved either
        if sidecars := [some for some in find_sidecars(files, images) if leaving.issuperset(some.images)]:
            yield sidecars


def _describe_sidecar(mover: FileMover, sidecar: str) -> FileIdentity:
    """Return the identity of a file that no run has read; an empty one if it cannot be read, as its move then says."""
    try:
        return mover.describe(sidecar)
    except RefusedError:
        return FileIdentity()
