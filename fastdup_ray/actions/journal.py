"""What a quarantine holds, and where it comes from: written ahead of all moves, read to go on and to put back."""

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

from fastdup_ray import layout
from fastdup_ray.actions.places import Known
from fastdup_ray.errors import DamagedError, LockedError, WorkDirError
from fastdup_ray.storage import Store, open_store

_FORMAT = "fastdup-ray journal 1"
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

    def prepare(self) -> None:
        """Makes it, with a file that says what it is; raises `WorkDirError`."""
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
            for move in _read(self._store, name):
                found.pop(move.target, None)
                found[move.target] = move
        return found

    def write(self, moves: Sequence[Move]) -> None:
        """Puts a journal of `moves`, whole and on the disk, before the first of them begins."""
        number = len(list(self._store.names(layout.JOURNALS))) + 1
        time = datetime.now(UTC).isoformat(timespec="seconds")
        try:
            with self._store.create(layout.QUARANTINE_MARK) as path:
                path.write_text(_ABOUT)
            with self._store.create(f"{layout.JOURNALS}/{number:06d}.jsonl") as path, open(path, "w") as file:
                file.write(json.dumps({"format": _FORMAT, "time": time, "moves": len(moves)}) + "\n")
                # Bytes that are not UTF-8 are escaped surrogates, other than in the JSON of a run: they come back.
                file.writelines(json.dumps(asdict(move)) + "\n" for move in moves)
        except OSError as error:
            raise WorkDirError(
                f"Cannot write the journal to {self.location!r}: {error.strerror}. Nothing was moved."
            ) from None

    def target_of(self, source: str) -> str:
        """Where a file goes: its whole path, below the quarantine."""
        path = source.replace("://", "/", 1).lstrip("/")
        return "/".join((self.location.rstrip("/"), layout.MOVED, path))

    @property
    def files(self) -> str:
        """The folder of what was moved."""
        return "/".join((self.location.rstrip("/"), layout.MOVED))

    def contains(self, name: str) -> bool:
        """Whether `name` is below it."""
        return name.startswith(self.location.rstrip("/") + "/")


def _read(store: Store, name: str) -> Iterable[Move]:
    damaged = DamagedError(f"{name} in {store.location!r} is damaged: put it back from a backup, or take it away.")
    with open(store.fetch(name), encoding="ascii") as file:
        try:
            head, *lines = map(json.loads, file)
            if head["format"] != _FORMAT or head["moves"] != len(lines):
                raise damaged
            for line in lines:
                yield Move(**line | {"known": Known(**line["known"]), "with_": tuple(line["with_"])})
        except (ValueError, KeyError, TypeError):
            raise damaged from None
