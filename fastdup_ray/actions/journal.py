"""What a quarantine holds, and where it comes from: written ahead of all moves, read to go on and to put back."""

import json
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

from fastdup_ray import layout
from fastdup_ray.actions.places import Known
from fastdup_ray.errors import DamagedError, LockedError, WorkDirError
from fastdup_ray.storage import Store, open_store

_FORMAT = "fastdup-ray journal 1"
_JOURNAL = re.compile(rf"{layout.JOURNALS}/(\d+)\.jsonl")
"""What a killed call was writing beside them is none."""

_ABOUT = """\
Pictures that `fastdup-ray apply` took out of their folders, below files/, each under its whole former path.
`fastdup-ray undo FOLDER`, with the folder that this file is in, puts them back by what is in journal/.
Runs of fastdup-ray leave this folder out.
"""


@dataclass(frozen=True, slots=True)
class Move:
    """A file that is to go to the quarantine. source: its name. target: its name in the quarantine.

    keeper: of a picture, what it is a copy of. with_: of a sidecar, the pictures that it goes with.
    """

    source: str
    target: str
    known: Known
    keeper: str = ""
    with_: tuple[str, ...] = ()


class Quarantine:
    """A folder or a prefix that pictures are moved to."""

    def __init__(self, location: str | os.PathLike[str]):
        self._store: Store = open_store(os.path.expanduser(location))
        self.location = self._store.location

    def refuse_other(self) -> None:
        """Raises `WorkDirError` where it is a folder of something else."""
        if not self.exists() and not self._store.is_empty():
            raise WorkDirError(
                f"{self.location!r} holds something else, and runs would leave it out from now on: "
                "name a folder that is empty, or not there yet."
            )

    def prepare(self) -> None:
        """Makes it, if need be; raises `WorkDirError`."""
        self._store.prepare()

    def exists(self) -> bool:
        return self._store.exists(layout.QUARANTINE_MARK)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Raises `LockedError` where another process moves to it, or puts back from it."""
        with ExitStack() as held:
            try:
                held.enter_context(self._store.lock(layout.LOCK))
            except LockedError as error:
                owner = str(error).partition("(")[2].partition(")")[0]
                raise LockedError(
                    f"Another apply or undo is at work in {self.location!r} ({owner}); wait for its end."
                ) from None
            except OSError as error:
                raise WorkDirError(f"Cannot write to {self.location!r}: {error.strerror}.") from None
            yield

    def moves(self) -> dict[str, Move]:
        """Everything that was ever to be moved here, by target, in the order of the last time."""
        found: dict[str, Move] = {}
        for name in self._store.names(layout.JOURNALS):
            for move in self._read(name) if _JOURNAL.fullmatch(name) else ():
                found.pop(move.target, None)
                found[move.target] = move
        return found

    def write(self, moves: Sequence[Move]) -> None:
        """Puts a journal of `moves`, whole and on the disk, before the first of them begins."""
        earlier = map(_JOURNAL.fullmatch, self._store.names(layout.JOURNALS))
        number = max((int(match[1]) for match in earlier if match), default=0) + 1
        time = datetime.now(UTC).isoformat(timespec="seconds")
        try:
            with self._store.create(layout.QUARANTINE_MARK) as path:
                path.write_text(_ABOUT)
            with self._store.create(f"{layout.JOURNALS}/{number:06d}.jsonl") as path, open(path, "w") as file:
                file.write(json.dumps({"format": _FORMAT, "time": time, "moves": len(moves)}) + "\n")
                # Bytes that are not UTF-8 are escaped surrogates, other than in the JSON of a run: they come back.
                file.writelines(json.dumps(asdict(move) | {"target": self._inside(move)}) + "\n" for move in moves)
        except OSError as error:
            raise WorkDirError(
                f"Cannot write the journal to {self.location!r}: {error.strerror}. Nothing was moved."
            ) from None

    def target_of(self, source: str) -> str:
        """Where a file goes: its whole path, below the quarantine."""
        path = source.replace("://", "/", 1).lstrip("/")
        return f"{self.files}/{path}"

    @property
    def files(self) -> str:
        """The folder of what was moved."""
        return f"{self._below}{layout.MOVED}"

    def contains(self, name: str) -> bool:
        """Whether `name` is below it."""
        return name.startswith(self._below)

    @property
    def _below(self) -> str:
        """What all names in it begin with."""
        return self.location.rstrip("/") + "/"

    def _inside(self, move: Move) -> str:
        """A target from the quarantine on, so that the whole folder can be moved elsewhere, and named there."""
        return move.target.removeprefix(self._below)

    def _read(self, name: str) -> Iterator[Move]:
        damaged = DamagedError(f"{name} in {self.location!r} is damaged: put it back from a backup, or take it away.")
        with open(self._store.fetch(name), encoding="ascii") as file:
            try:
                head, *lines = map(json.loads, file)
                if head["format"] != _FORMAT or head["moves"] != len(lines):
                    raise damaged
                for line in lines:
                    known, target = Known(**line["known"]), self._below + line["target"]
                    yield Move(**line | {"target": target, "known": known, "with_": tuple(line["with_"])})
            except (ValueError, KeyError, TypeError):
                raise damaged from None
