"""From a plan to the moves that carry it out: what goes where, what goes with it, what cannot go at all."""

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby

from fastdup_ray.curation.file_ops import Known, Place, place_of
from fastdup_ray.curation.journal import Move, Quarantine
from fastdup_ray.curation.plan_file import PlanRow
from fastdup_ray.curation.sidecars import sidecars_in
from fastdup_ray.errors import RefusedError
from fastdup_ray.inputs import stands_alone
from fastdup_ray.s3 import is_s3


@dataclass
class Intended:
    """moves: pictures, then their sidecars. gone: pictures that an earlier call moved. refused: name and reason."""

    moves: list[Move] = field(default_factory=list)
    gone: set[str] = field(default_factory=set)
    refused: list[tuple[str, str]] = field(default_factory=list)


def intended_moves(rows: Sequence[PlanRow], quarantine: Quarantine) -> Intended:
    """What a plan asks for and an earlier call has not done."""
    place, targets = place_of(quarantine.location), _Targets(quarantine)
    kept = {row.filename: row for row in rows if not row.dropped}
    intended = Intended()
    for row in rows:
        if not row.dropped:
            continue
        try:
            _refuse_impossible(row, kept[row.keeper], quarantine, place)
            if place.exists(row.filename):
                target = targets.of(row.filename, known_of(row))
                intended.moves.append(Move(row.filename, target, known_of(row), keeper=row.keeper))
            elif targets.holds(row.filename, known_of(row)):
                intended.gone.add(row.filename)
            else:
                raise RefusedError("it is gone")
        except RefusedError as error:
            intended.refused.append((row.filename, str(error)))
    going = intended.gone | {move.source for move in intended.moves}
    intended.moves += _sidecars(going, [row.filename for row in rows], place, targets, quarantine)
    return intended


def known_of(row: PlanRow) -> Known:
    """By what the image of a row is known again; an ETag says something of objects only."""
    return Known(row.size, row.sha256, row.etag if is_s3(row.filename) else "")


def _refuse_impossible(row: PlanRow, keeper: PlanRow, quarantine: Quarantine, place: Place) -> None:
    if not stands_alone(row.filename):
        raise RefusedError("it is in an archive, or a frame of a video, and cannot be moved")
    if place_of(row.filename) is not place:
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
        self._quarantine, self._place = quarantine, place_of(quarantine.location)
        # A picture that took the name of one that went before is another, and goes elsewhere.
        self._earlier = {(move.source, move.known): move.target for move in quarantine.moves().values()}
        self._taken = {target.casefold() for target in self._earlier.values()}
        """Without regard to case: the disk of a quarantine may have none."""

    def holds(self, source: str, known: Known) -> bool:
        """Whether what was under this name is in the quarantine."""
        target = self._earlier.get((source, known))
        return target is not None and self._place.exists(target)

    def of(self, source: str, known: Known) -> str:
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


def _sidecars(
    going: set[str], planned: Sequence[str], place: Place, targets: _Targets, quarantine: Quarantine
) -> Iterator[Move]:
    """Of pictures that go; those of one that stays stay. planned: all pictures of the plan."""
    for pictures in by_folder(planned):
        if going.isdisjoint(pictures):
            continue
        try:
            files = place.neighbours(pictures[0])
        except RefusedError:
            continue  # then its pictures cannot be moved either
        for sidecar in sidecars_in(files, pictures):
            if going.issuperset(sidecar.pictures):
                known = _describe(place, quarantine.real(sidecar.name))
                yield Move(sidecar.name, targets.of(sidecar.name, known), known, with_=sidecar.pictures)


def _describe(place: Place, sidecar: str) -> Known:
    """What is known of a file that no run saw; nothing where it cannot be read, which its move then says."""
    try:
        return place.describe(sidecar)
    except RefusedError:
        return Known()


def by_folder(names: Iterable[str]) -> Iterator[list[str]]:
    """The names of each folder, sorted."""
    return (list(found) for _, found in groupby(sorted(names, key=os.path.split), os.path.dirname))
