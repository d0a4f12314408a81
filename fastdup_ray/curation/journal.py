"""What a quarantine holds, and where it comes from: written ahead of all moves, read to go on and to put back."""

import json
import os
import posixpath
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from fastdup_ray.common import layout
from fastdup_ray.curation.file_ops import FileIdentity, get_file_mover
from fastdup_ray.errors import DamagedError, LockedError, WorkDirError
from fastdup_ray.s3 import DEFAULT_ACCESS, Access, is_s3
from fastdup_ray.storage import Store, open_store

_FORMAT = "fastdup-ray journal 2"
_FORMAT_WITHOUT_ROOTS = "fastdup-ray journal 1"
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
    known: FileIdentity
    keeper: str = ""
    with_: tuple[str, ...] = ()


class Quarantine:
    """A folder or a prefix that pictures are moved to."""

    def __init__(self, location: str | os.PathLike[str], access: Access = DEFAULT_ACCESS):
        self._store: Store = open_store(os.path.expanduser(location), access)
        self.location, self.access = self._store.location, access
        self._folders: dict[str, str] = {}
        """Folder -> its real path when it was first asked for, by this call or by the one that moved from it."""

    def refuse_foreign(self) -> None:
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
    def lock(self) -> Iterator[None]:
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

    def read_moves(self) -> dict[str, Move]:
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
                path.write_text(_ABOUT, encoding="ascii")
            name = f"{layout.JOURNALS}/{number:06d}.jsonl"
            with self._store.create(name) as path, open(path, "w", encoding="ascii") as file:
                roots = _find_roots(move.source for move in moves)
                links = self._find_links(move.source for move in moves)
                head = {"format": _FORMAT, "time": time, "moves": len(moves), "roots": roots, "links": links}
                file.write(json.dumps(head) + "\n")
                # Bytes that are not UTF-8 are escaped surrogates, other than in the JSON of a run: they come back.
                file.writelines(
                    json.dumps(asdict(move) | {"target": self._relative_target(move.target)}) + "\n" for move in moves
                )
        except OSError as error:
            raise WorkDirError(
                f"Cannot write the journal to {self.location!r}: {error.strerror}. Nothing was moved."
            ) from None

    def resolve(self, name: str) -> str:
        """The name of a file without links on the way, the same whatever links are put there since it was asked first.

        Below the quarantine there are none, other than on the way to it.
        """
        if self.contains(name):
            return f"{self._resolve_folder(self.location)}/{self._relative_target(name)}"
        return f"{self._resolve_folder(os.path.dirname(name))}/{os.path.basename(name)}"

    def _resolve_folder(self, folder: str) -> str:
        if folder not in self._folders:
            self._folders[folder] = get_file_mover(folder, self.access).resolve(folder)
        return self._folders[folder]

    def _find_links(self, sources: Iterable[str]) -> dict[str, str]:
        """The real folders of files, where these are others than their names say."""
        real = {folder: self._resolve_folder(folder) for folder in set(map(os.path.dirname, sources))}
        return {folder: real[folder] for folder in sorted(real) if real[folder] != folder}

    def target_of(self, source: str) -> str:
        """Where a file goes: its whole path, below the quarantine."""
        path = source.replace("://", "/", 1).lstrip("/")
        return f"{self.files}/{path}"

    def _is_target_of(self, target: str, source: str) -> bool:
        """Whether it is `target_of(source)`, or that with a number because the name was taken."""
        root, suffix = os.path.splitext(self.target_of(source))
        return re.fullmatch(rf"{re.escape(root)}( \(\d+\))?{re.escape(suffix)}", target) is not None

    @property
    def files(self) -> str:
        """The folder of what was moved."""
        return f"{self._prefix}{layout.MOVED}"

    def contains(self, name: str) -> bool:
        """Whether `name` is below it."""
        return name.startswith(self._prefix)

    @property
    def _prefix(self) -> str:
        """What all names in it begin with."""
        return self.location.rstrip("/") + "/"

    def _relative_target(self, target: str) -> str:
        """A target from the quarantine on, so that the whole folder can be moved elsewhere, and named there."""
        return target.removeprefix(self._prefix)

    def _read(self, name: str) -> Iterator[Move]:
        """The moves of one journal; `DamagedError` for anything that `write` does not write.

        Whoever hands somebody a quarantine chooses what its journal says. So a file comes from below files/ only, and
        goes to the path that its name there has, below a folder that the head names.
        """
        try:
            with open(self._store.fetch(name), encoding="ascii") as file:
                head, *lines = map(json.loads, file)
            roots = {_FORMAT: head.get("roots"), _FORMAT_WITHOUT_ROOTS: [""]}[head["format"]]
            if head["moves"] != len(lines):
                raise ValueError
            moves = [self._parse(line, roots) for line in lines]
            if "links" in head:  # an earlier version did not say
                self._remember_folders(head["links"], moves)
            yield from moves
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            raise DamagedError(
                f"{name} in {self.location!r} is damaged: put it back from a backup, or take it away."
            ) from None

    def _remember_folders(self, links: dict[str, str], moves: Sequence[Move]) -> None:
        """Take up where the files were that are here; raises as `_parse`."""
        if not all(isinstance(real, str) and _is_plain(real, absolute=True) for real in links.values()):
            raise ValueError
        mover = get_file_mover(self.location, self.access)
        folders = {os.path.dirname(move.source) for move in moves if mover.exists(move.target)}
        self._folders |= {folder: links.get(folder, folder) for folder in folders}

    def _parse(self, line: dict[str, Any], roots: Sequence[str]) -> Move:
        """The move of a line; raises `ValueError`, `KeyError`, `TypeError` for a line that means none."""
        line = dict(line)
        known, inside, others = FileIdentity(**line.pop("known")), line.pop("target"), tuple(line.pop("with_"))
        move = Move(**line, target=self._prefix + inside, known=known, with_=others)
        texts = [move.source, move.keeper, inside, known.sha256, known.etag, *others, *roots]
        if not all(isinstance(text, str) and "\0" not in text for text in texts):
            raise ValueError
        if not (known.size is None or (type(known.size) is int and known.size >= 0)):
            raise ValueError
        if not any(_is_below(move.source, root) for root in roots) or is_s3(move.source) is not is_s3(self.location):
            raise ValueError
        if not self._is_target_of(move.target, move.source):
            raise ValueError
        if not is_s3(move.source) and not (_is_plain(move.source, absolute=True) and _is_plain(inside)):
            raise ValueError
        return move


def _find_roots(sources: Iterable[str]) -> list[str]:
    """The folder that holds all of some files, or those of each bucket."""
    of_bucket: dict[str, list[str]] = {}
    for source in sources:
        bucket = "/".join(source.split("/", 3)[:3]) if is_s3(source) else ""
        of_bucket.setdefault(bucket, []).append(os.path.dirname(source))
    return sorted(bucket or os.path.commonpath(folders) for bucket, folders in of_bucket.items())


def _is_below(name: str, root: str) -> bool:
    return name.startswith(root.rstrip("/") + "/") or not root


def _is_plain(name: str, *, absolute: bool = False) -> bool:
    """Whether a path says where it leads: no `..`, no `.`, no empty part."""
    return posixpath.isabs(name) is absolute and posixpath.normpath(name) == name and name.split("/")[0] != ".."
