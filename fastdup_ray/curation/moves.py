"""From a plan to the moves that carry it out: what goes where, what goes with it, what cannot go at all."""

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby

from fastdup_ray.curation.file_ops import FileIdentity, FileMover, get_file_mover
from fastdup_ray.curation.journal import Move, Quarantine
from fastdup_ray.curation.plan_file import PlanRow
from fastdup_ray.curation.sidecars import find_sidecars
from fastdup_ray.errors import RefusedError
from fastdup_ray.inputs import is_standalone_file
from fastdup_ray.s3 import is_s3


@dataclass
class MovePlan:
    """moves: pictures, then their sidecars. gone: pictures that an earlier call moved. refused: name and reason."""

    moves: list[Move] = field(default_factory=list)
    already_moved: set[str] = field(default_factory=set)
    refused: list[tuple[str, str]] = field(default_factory=list)


def plan_moves(rows: Sequence[PlanRow], quarantine: Quarantine) -> MovePlan:
    """What a plan asks for and an earlier call has not done."""
    place, targets = get_file_mover(quarantine.location, quarantine.access), _Targets(quarantine)
    kept = {row.filename: row for row in rows if not row.is_dropped}
    intended = MovePlan()
    for row in rows:
        if not row.is_dropped:
            continue
        try:
            _refuse_impossible(row, kept[row.keeper], quarantine, place)
            if place.exists(row.filename):
                target = targets.choose(row.filename, make_identity(row))
                intended.moves.append(Move(row.filename, target, make_identity(row), keeper=row.keeper))
            elif targets.holds(row.filename, make_identity(row)):
                intended.already_moved.add(row.filename)
            else:
                raise RefusedError("it is gone")
        except RefusedError as error:
            intended.refused.append((row.filename, str(error)))
    going = intended.already_moved | {move.source for move in intended.moves}
    intended.moves += _plan_sidecar_moves(going, [row.filename for row in rows], place, targets, quarantine)
    return intended


def make_identity(row: PlanRow) -> FileIdentity:
    """By what the image of a row is known again; an ETag says something of objects only."""
    return FileIdentity(row.size, row.sha256, row.etag if is_s3(row.filename) else "")


def _refuse_impossible(row: PlanRow, keeper: PlanRow, quarantine: Quarantine, place: FileMover) -> None:
    if not is_standalone_file(row.filename, quarantine.access):
        raise RefusedError("it is in an archive, or a frame of a video, and cannot be moved")
    if get_file_mover(row.filename, quarantine.access) is not place:
        raise RefusedError(
            f"it cannot be moved to {quarantine.location!r}, another kind of place: name one of its kind"
        )
    if quarantine.contains(row.filename):
        raise RefusedError("it is in the quarantine itself")
    for each, whose in ((row, "its"), (keeper, "its keeper's")):
        if not each.sha256 and not (each.etag and is_s3(each.filename)):
            raise RefusedError(f"{whose} digest is not in the plan: nobody could tell whether it changed")


class _Targets:
    """Names in a quarantine: those that earlier calls gave, and fresh ones that nothing has yet."""

    def __init__(self, quarantine: Quarantine):
        self._quarantine, self._place = quarantine, get_file_mover(quarantine.location, quarantine.access)
        # A picture that took the name of one that went before is another, and goes elsewhere.
        self._earlier = {(move.source, move.known): move.target for move in quarantine.read_moves().values()}
        self._taken = {target.casefold() for target in self._earlier.values()}
        """Without regard to case: the disk of a quarantine may have none."""

    def holds(self, source: str, known: FileIdentity) -> bool:
        """Whether what was under this name is in the quarantine."""
        target = self._earlier.get((source, known))
        return target is not None and self._place.exists(target)

    def choose(self, source: str, known: FileIdentity) -> str:
        if (source, known) in self._earlier:
            return self._earlier[source, known]
        first = self._quarantine.target_of(source)
        root, suffix = os.path.splitext(first)
        target, number = first, 1
        while target.casefold() in self._taken or self._place.exists(target):
            number += 1
            target = f"{root} ({number}){suffix}"
        self._taken.add(target.casefold())
        return target


def _plan_sidecar_moves(
    going: set[str], planned: Sequence[str], place: FileMover, targets: _Targets, quarantine: Quarantine
) -> Iterator[Move]:
    """Of pictures that go; those of one that stays stay. planned: all pictures of the plan."""
    for pictures in group_by_folder(planned):
        if going.isdisjoint(pictures):
            continue
        try:
            files = place.list_siblings(pictures[0])
        except RefusedError:
            continue  # then its pictures cannot be moved either
        for sidecar in find_sidecars(files, pictures):
            if going.issuperset(sidecar.images):
                known = _describe_sidecar(place, quarantine.resolve(sidecar.name))
                yield Move(sidecar.name, targets.choose(sidecar.name, known), known, with_=sidecar.images)


def _describe_sidecar(place: FileMover, sidecar: str) -> FileIdentity:
    """What is known of a file that no run saw; nothing where it cannot be read, which its move then says."""
    try:
        return place.describe(sidecar)
    except RefusedError:
        return FileIdentity()


def group_by_folder(names: Iterable[str]) -> Iterator[list[str]]:
    """The names of each folder, sorted."""
    return (list(found) for _, found in groupby(sorted(names, key=os.path.split), os.path.dirname))
