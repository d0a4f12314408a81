"""From a plan to the moves that carry it out: where each file goes, which sidecars go along, what cannot be moved."""

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby

from fastdup_ray.common.locations import is_remote
from fastdup_ray.curation.file_ops import FileIdentity, FileMover, get_file_mover
from fastdup_ray.curation.journal import Move, Quarantine
from fastdup_ray.curation.plan_file import PlanRow
from fastdup_ray.curation.sidecar_check import explain_unique_sidecars
from fastdup_ray.errors import RefusedError
from fastdup_ray.inputs import get_box, is_standalone_file
from fastdup_ray.inputs.sidecars import find_sidecars


@dataclass
class MovePlan:
    """What a plan asks for.

    Attributes:
        moves: Those that are left to do: images, then sidecars.
        already_moved: Images that an earlier call moved.
        refused: Name and reason of each image that cannot be moved.
        held: How many of these stay because of their sidecars.
    """

    moves: list[Move] = field(default_factory=list)
    already_moved: set[str] = field(default_factory=set)
    refused: list[tuple[str, str]] = field(default_factory=list)
    held: int = 0


def plan_moves(rows: Sequence[PlanRow], quarantine: Quarantine, *, any_sidecars: bool = False) -> MovePlan:
    """Return the moves that a plan asks for and no earlier call has made.

    Args:
        rows: A plan that `check_plan` accepts.
        quarantine: Where the files go.
        any_sidecars: Move images even if they have sidecars that their keepers lack, or have with other content.
    """
    mover, targets = get_file_mover(quarantine.location, quarantine.access), _Targets(quarantine)
    kept = {row.filename: row for row in rows if not row.is_dropped}
    plan = MovePlan()
    held = {} if any_sidecars else _find_unique_sidecars(rows, quarantine)
    for row in rows:
        if not row.is_dropped:
            continue
        try:
            _refuse_impossible(row, kept[row.keeper], quarantine, mover)
            if mover.exists(row.filename):
                if row.filename in held:
                    plan.held += 1
                    raise RefusedError(held[row.filename])
                target = targets.choose(row.filename, make_identity(row))
                plan.moves.append(Move(row.filename, target, make_identity(row), keeper=row.keeper))
            elif targets.contains(row.filename, make_identity(row)):
                plan.already_moved.add(row.filename)
            else:
                raise RefusedError("it is gone")
        except RefusedError as error:
            plan.refused.append((row.filename, str(error)))
    leaving = plan.already_moved | {move.source for move in plan.moves}
    plan.moves += _plan_sidecar_moves(leaving, [row.filename for row in rows], mover, targets, quarantine)
    return plan


def _find_unique_sidecars(rows: Sequence[PlanRow], quarantine: Quarantine) -> dict[str, str]:
    keepers = {row.filename: row.keeper for row in rows if row.is_dropped}
    return dict(explain_unique_sidecars(keepers, [row.filename for row in rows], quarantine.access))


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
        self._earlier = {(move.source, move.known): move.target for move in quarantine.read_moves().values()}
        self._taken = {target.casefold() for target in self._earlier.values()}
        """In lower case, as the file system of a quarantine may ignore case."""

    def contains(self, source: str, identity: FileIdentity) -> bool:
        """Return whether an earlier call moved this file, and it is still in the quarantine."""
        target = self._earlier.get((source, identity))
        return target is not None and self._mover.exists(target)

    def choose(self, source: str, identity: FileIdentity) -> str:
        """Return the target of a file: the one of an earlier call, else a new one."""
        if (source, identity) in self._earlier:
            return self._earlier[source, identity]
        first = self._quarantine.get_target(source)
        root, suffix = os.path.splitext(first)
        target, number = first, 1
        while target.casefold() in self._taken or self._mover.exists(target):
            number += 1
            target = f"{root} ({number}){suffix}"
        self._taken.add(target.casefold())
        return target


def _plan_sidecar_moves(
    leaving: set[str], planned: Sequence[str], mover: FileMover, targets: _Targets, quarantine: Quarantine
) -> Iterator[Move]:
    """Yield the moves of the sidecars whose images all leave.

    Args:
        leaving: Images that are moved, or were by an earlier call.
        planned: All images of the plan.
        mover: Of the quarantine.
        targets: Chooses the names in it.
        quarantine: Where the files go.
    """
    for images in group_by_folder(planned):
        if leaving.isdisjoint(images):
            continue
        try:
            files = mover.list_siblings(images[0])
        except RefusedError:
            continue  # the images of this folder cannot be moved either
        for sidecar in find_sidecars(files, images):
            if leaving.issuperset(sidecar.images):
                identity = _describe_sidecar(mover, quarantine.resolve(sidecar.name))
                yield Move(sidecar.name, targets.choose(sidecar.name, identity), identity, with_=sidecar.images)


def _describe_sidecar(mover: FileMover, sidecar: str) -> FileIdentity:
    """Return the identity of a file that no run has read; an empty one if it cannot be read, as its move then says."""
    try:
        return mover.describe(sidecar)
    except RefusedError:
        return FileIdentity()


def group_by_folder(names: Iterable[str]) -> Iterator[list[str]]:
    """Yield the names of each folder, sorted."""
    return (list(group) for _, group in groupby(sorted(names, key=os.path.split), os.path.dirname))
