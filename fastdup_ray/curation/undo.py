"""The command `undo`: puts back what is in a quarantine."""

from dataclasses import dataclass, field

from fastdup_ray.common import layout
from fastdup_ray.common.names import escape_invisible
from fastdup_ray.common.paths import accept_paths
from fastdup_ray.curation.apply import Location, Tell
from fastdup_ray.curation.file_ops import get_file_mover
from fastdup_ray.curation.journal import Move, Quarantine
from fastdup_ray.errors import InputError, RefusedError
from fastdup_ray.inputs.globs import Patterns
from fastdup_ray.s3 import make_access


@dataclass
class UndoResult:
    """What a call put back, and what it could not. lost: neither in the quarantine nor at their place."""

    quarantine: str
    restored: list[Move] = field(default_factory=list)
    refused: list[tuple[str, str]] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)

    def text(self) -> str:
        """What the command prints at the end."""
        lines = [f"{len(self.restored):,} files are back at their places, from {self.quarantine}."]
        if not self.restored and not self.refused:
            lines = [f"Nothing is left in {self.quarantine} to put back."]
        if self.lost:
            lines.append(
                f"{len(self.lost):,} are neither there nor at their places (gone, above): "
                "somebody took them away since."
            )
        return "\n".join(lines)

    def check(self) -> None:
        """Raises `RefusedError` where anything was refused."""
        if self.refused:
            raise RefusedError(
                f"{len(self.refused):,} files stay in the quarantine; a line above says why for each. "
                "Make room for them and call again, or take them from there yourself."
            )


@accept_paths("quarantine")
def undo(
    quarantine: Location = layout.QUARANTINE,
    only: str | None = None,
    tell: Tell = lambda line: None,
    *,
    s3_anonymous: bool = False,
    s3_requester_pays: bool = False,
) -> UndoResult:
    """Puts all that `apply` moved back to its place, by the journal, never over another file.

    It can be killed at any moment: the same call goes on. only: a glob of names, as in `--include`; all others stay.
    tell: gets a line for each file. Raises `InputError`, `LockedError`.
    """
    access = make_access(anonymous=s3_anonymous, requester_pays=s3_requester_pays)
    where, wanted = Quarantine(quarantine, access), Patterns([only] if only else [], [])
    if not where.exists():
        raise InputError(f"No quarantine in {where.location!r}: name the folder that apply moved to.")
    place, undone = get_file_mover(where.location, access), UndoResult(where.location)
    with where.lock():
        moves = list(where.read_moves().values())
        for move in reversed(moves):
            if not wanted.keep(move.source):
                continue
            if not place.exists(move.target):
                if not place.exists(move.source):
                    undone.lost.append(move.source)
                    tell(f"gone {escape_invisible(move.source)}")
                continue
            try:
                known = place.describe_copy(move.target, move.known)
                place.move(where.resolve(move.target), where.resolve(move.source), known)
            except RefusedError as error:
                undone.refused.append((move.source, str(error)))
                tell(f"left {escape_invisible(move.target)}: {error}")
                continue
            undone.restored.append(move)
            tell(f"back {escape_invisible(move.source)}")
        place.remove_empty(where.files)
    return undone
