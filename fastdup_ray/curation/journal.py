"""A quarantine and its journal of moves.

The journal is written before the first move. `apply` reads it to resume, `undo` to restore the files.
"""

import json
import os
import posixpath
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from itertools import compress
from typing import IO, Any

import numpy as np

from fastdup_ray.common import layout
from fastdup_ray.common.access import DEFAULT_ACCESS, Access
from fastdup_ray.common.row_index import RowIndex
from fastdup_ray.curation.file_ops import FileIdentity, get_file_mover
from fastdup_ray.errors import DamagedError, LockedError, WorkDirError
from fastdup_ray.s3 import is_s3
from fastdup_ray.storage import Store, open_store
from fastdup_ray.storage.disk_list import DiskList, reduce_to_fields

_FORMAT = "fastdup-ray journal 2"
_FORMAT_WITHOUT_ROOTS = "fastdup-ray journal 1"
_JOURNAL = re.compile(rf"{layout.JOURNALS}/(\d+)\.jsonl")
"""Matches journals, but not the temporary files that a killed call left next to them."""

_ABOUT = """\
This folder is a quarantine: `fastdup-ray apply` moved images here, to files/, each under its whole former path.
`fastdup-ray undo FOLDER`, with the folder that this file is in, moves them back, by the records in journal/.
Runs of fastdup-ray skip this folder.
"""


@dataclass(frozen=True, slots=True)
class Move:
    """The move of one file to the quarantine. The fields are the members of a line of the journal.

    Attributes:
        source: Its name.
        target: Its name in the quarantine.
        known: What the file is compared with before it is moved.
        keeper: Of an image, the kept image that it duplicates; of a sidecar, "".
        with_: Of a sidecar, the images that it belongs to.
    """

    source: str
    target: str
    known: FileIdentity
    keeper: str = ""
    with_: tuple[str, ...] = ()

    __reduce__ = reduce_to_fields


class Quarantine:
    """A folder, or a prefix of a bucket, that files are moved to.

    Attributes:
        location: Absolute path or URI.
        access: How buckets are accessed.
    """

    def __init__(self, location: str | os.PathLike[str], access: Access = DEFAULT_ACCESS) -> None:
        self._store: Store = open_store(os.path.expanduser(location), access)
        self.location, self.access = self._store.location, access
        self._folders: dict[str, str] = {}
        """Maps a folder to its real path as it was at first, in this call or in the one that moved files from it."""

    def refuse_foreign(self) -> None:
        """Raise `WorkDirError` if the folder has other content and is not a quarantine."""
        if not self.exists() and not self._store.is_empty():
            raise WorkDirError(
                f"{self.location!r} is not empty and not a quarantine: name a folder that is empty or does not exist."
            )

    def prepare(self) -> None:
        """Create the folder if it does not exist; raise `WorkDirError` if it cannot be written."""
        self._store.prepare()

    def exists(self) -> bool:
        """Return whether this is a quarantine that `apply` made."""
        return self._store.exists(layout.QUARANTINE_MARK)

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Lock the quarantine while the context lasts.

        Raises:
            LockedError: If another `apply` or `undo` uses it.
            WorkDirError: If it cannot be written.
        """
        with ExitStack() as stack:
            try:
                stack.enter_context(self._store.lock(layout.LOCK))
            except LockedError as error:
                owner = str(error).partition("(")[2].partition(")")[0]
                raise LockedError(
                    f"Another apply or undo is using {self.location!r} ({owner}); wait until it ends."
                ) from None
            except OSError as error:
                raise WorkDirError(f"Cannot write to {self.location!r}: {error.strerror}.") from None
            yield

    def read_moves(self) -> DiskList[Move]:
        """Return all moves in the journals: of each target the latest record, in the order of these.

        Raises:
            DamagedError: If a journal is not as `write` writes it.
        """
        moves: DiskList[Move] = DiskList(self.scratch)
        for name in self._store.names(layout.JOURNALS):
            if _JOURNAL.fullmatch(name):
                moves.extend(self._read(name))
        index = RowIndex((move.target for move in moves), len(moves), lambda row: moves[row].target)
        is_latest = np.ones(len(moves), bool)
        for rows in index.iter_repeated():
            is_latest[rows[:-1]] = False
        return moves if is_latest.all() else DiskList(self.scratch, compress(moves, is_latest))

    def scratch(self) -> IO[bytes]:
        """Open an empty, unnamed file, see `Store.scratch`."""
        return self._store.scratch()

    def write(self, moves: Sequence[Move]) -> None:
        """Write a journal of `moves`, whole and on disk, before the first of them.

        Raises:
            WorkDirError: If it cannot be written.
        """
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
                # Unlike in the JSON of a run, bytes that are not UTF-8 are surrogates here, so that names read back.
                file.writelines(
                    json.dumps(asdict(move) | {"target": self._relative_target(move.target)}) + "\n" for move in moves
                )
        except OSError as error:
            raise WorkDirError(
                f"Cannot write the journal to {self.location!r}: {error.strerror}. Nothing was moved."
            ) from None

    def resolve(self, name: str) -> str:
        """Return the name of a file with the links on its path resolved.

        A folder is resolved once, so a link that is put there later is not followed. In the quarantine there are no
        links, only on the path to it.
        """
        if self.contains(name):
            return f"{self._resolve_folder(self.location)}/{self._relative_target(name)}"
        return f"{self._resolve_folder(os.path.dirname(name))}/{os.path.basename(name)}"

    def _resolve_folder(self, folder: str) -> str:
        if folder not in self._folders:
            self._folders[folder] = get_file_mover(folder, self.access).resolve(folder)
        return self._folders[folder]

    def _find_links(self, sources: Iterable[str]) -> dict[str, str]:
        """Map those folders of files that have links on their paths to their real paths."""
        real = {folder: self._resolve_folder(folder) for folder in set(map(os.path.dirname, sources))}
        return {folder: real[folder] for folder in sorted(real) if real[folder] != folder}

    def get_target(self, source: str) -> str:
        """Return where a file goes: below files/, under its whole path."""
        path = source.replace("://", "/", 1).lstrip("/")
        return f"{self.files}/{path}"

    def _is_target_of(self, target: str, source: str) -> bool:
        """Return whether it is `get_target(source)`, or that with a number because the name was taken."""
        first = self.get_target(source)
        root, suffix = os.path.splitext(first)
        return target == first or re.fullmatch(rf"{re.escape(root)}( \(\d+\))?{re.escape(suffix)}", target) is not None

    @property
    def files(self) -> str:
        """The folder of the moved files."""
        return f"{self._prefix}{layout.MOVED}"

    def contains(self, name: str) -> bool:
        """Return whether `name` is in the quarantine."""
        return name.startswith(self._prefix)

    @property
    def _prefix(self) -> str:
        """What all names in the quarantine begin with."""
        return self.location.rstrip("/") + "/"

    def _relative_target(self, target: str) -> str:
        """Return a target relative to the quarantine, as journals have it: the whole folder may be moved elsewhere."""
        return target.removeprefix(self._prefix)

    def _read(self, name: str) -> Iterator[Move]:
        """Yield the moves of one journal; raise `DamagedError` for anything that `write` does not write.

        Whoever hands over a quarantine controls what its journal says. So a file is moved only from below files/, and
        only to the path that its name there says, below a folder that the head of the journal names.
        """
        try:
            with open(self._store.fetch(name), encoding="ascii") as file:
                head = json.loads(file.readline())
                roots = {_FORMAT: head.get("roots"), _FORMAT_WITHOUT_ROOTS: [""]}[head["format"]]
                has_links, count = "links" in head, 0  # earlier versions did not write them
                if has_links:
                    _check_links(head["links"])
                for line in file:
                    move = self._parse(json.loads(line), roots)
                    if has_links:
                        self._remember_folder(move, head["links"])
                    yield move
                    count += 1
                if head["moves"] != count:
                    raise ValueError
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            raise DamagedError(
                f"{name} in {self.location!r} is damaged: restore it from a backup, or remove it."
            ) from None

    def _remember_folder(self, move: Move, links: dict[str, str]) -> None:
        """Remember the real path of the folder that a file came from, if the file is in the quarantine."""
        folder = os.path.dirname(move.source)
        if get_file_mover(self.location, self.access).exists(move.target):
            self._folders[folder] = links.get(folder, folder)

    def _parse(self, line: dict[str, Any], roots: Sequence[str]) -> Move:
        """Return the move of a line; raise `ValueError`, `KeyError` or `TypeError` if it is not one."""
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


def _check_links(links: dict[str, str]) -> None:
    """Raise `ValueError` if real paths of folders are not paths."""
    if not all(isinstance(real, str) and _is_plain(real, absolute=True) for real in links.values()):
        raise ValueError


def _find_roots(sources: Iterable[str]) -> list[str]:
    """Return the deepest folder that contains all files; on S3, one for each bucket."""
    of_bucket: dict[str, set[str]] = {}
    for source in sources:
        bucket = "/".join(source.split("/", 3)[:3]) if is_s3(source) else ""
        of_bucket.setdefault(bucket, set()).add(os.path.dirname(source))
    return sorted(bucket or os.path.commonpath(folders) for bucket, folders in of_bucket.items())


def _is_below(name: str, root: str) -> bool:
    return name.startswith(root.rstrip("/") + "/") or not root


def _is_plain(name: str, *, absolute: bool = False) -> bool:
    """Return whether a path has no `..`, no `.` and no empty part."""
    return posixpath.isabs(name) is absolute and posixpath.normpath(name) == name and name.split("/")[0] != ".."
