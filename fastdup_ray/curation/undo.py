"""The command `undo`: restore the files in a quarantine."""

from dataclasses import dataclass, field

from fastdup_ray.common import layout
from fastdup_ray.common.access import make_access
from fastdup_ray.common.formatting import format_count
from fastdup_ray.common.names import escape_invisible
from fastdup_ray.common.paths import accept_paths
from fastdup_ray.curation.apply import (
    EXAMPLES,
    LineCallback,
    Location,
    TrackMoves,
    describe_refusal,
    ignore_line,
    list_examples,
    track_silently,
)
from fastdup_ray.curation.file_ops import get_file_mover
from fastdup_ray.curation.journal import Move, Quarantine
from fastdup_ray.errors import InputError, RefusedError
from fastdup_ray.inputs.globs import Patterns
from fastdup_ray.storage.disk_list import DiskList


@dataclass
class UndoResult:
    """What `undo` did.

    Attributes:
        quarantine: Path or URI of the quarantine.
        restored: The moves that were undone.
        refused: Name and reason of each file that stays in the quarantine.
        lost: Names of files that are neither in the quarantine nor where they came from.
    """

    quarantine: str
    restored: DiskList[Move] = field(default_factory=DiskList)
    refused: DiskList[tuple[str, str]] = field(default_factory=DiskList)
    lost: DiskList[str] = field(default_factory=DiskList)

    def text(self, *, verbose: bool = False) -> str:
        """Return what the command prints in the end: the total, and examples of files.

        Args:
            verbose: List all files, not only examples.
        """
        limit = None if verbose else EXAMPLES
        lines = [f"Restored {format_count(len(self.restored), 'file')}."]
        if not self.restored and not self.refused:
            lines = [f"Nothing to restore in {self.quarantine}."]
        lines += list_examples(lambda move: escape_invisible(move.source), self.restored, limit)
        if self.refused:
            lines.append(f"Stayed in the quarantine: {format_count(len(self.refused), 'file')}.")
            lines += list_examples(describe_refusal, self.refused, limit)
        if self.lost:
            lines.append(
                f"Missing, removed from the quarantine by something else: {format_count(len(self.lost), 'file')}."
            )
            lines += list_examples(escape_invisible, self.lost, limit)
        return "\n".join(lines)

    def check(self) -> None:
        """Raise `RefusedError` if a file stays in the quarantine."""
        if self.refused:
            raise RefusedError(
                f"{format_count(len(self.refused), 'file')} stayed in the quarantine; see the reasons above. "
                "Make room for them and run the same command again, or take them from the quarantine yourself."
            )


@accept_paths("quarantine")
def undo(
    quarantine: Location = layout.QUARANTINE,
    only: str | None = None,
    tell: LineCallback = ignore_line,
    *,
    track: TrackMoves = track_silently,
    s3_anonymous: bool = False,
    s3_requester_pays: bool = False,
) -> UndoResult:
    """Move all files in a quarantine back to where `apply_plan` found them, and never over another file.

    A call may be killed at any moment: the same call resumes it.

    Args:
        quarantine: A folder or prefix that `apply_plan` moved files to.
        only: A glob, as in `--include`, of the names to restore; default: all.
        tell: Gets a line for each file.
        track: Wraps the moves to show progress, such as `tqdm.tqdm`.
        s3_anonymous: Send unsigned requests to buckets.
        s3_requester_pays: Pay for reads from requester-pays buckets.

    Returns:
        What was restored, and what was not, with the reasons.

    Raises:
        InputError: If there is no quarantine.
        ConfigError: If `only` is not a glob.
        LockedError: If another process uses the quarantine.
        DamagedError: If its journal is damaged; then nothing is moved.
    """
    access = make_access(anonymous=s3_anonymous, requester_pays=s3_requester_pays)
    source, patterns = Quarantine(quarantine, access), Patterns([only] if only else [], [])
    if not source.exists():
        raise InputError(f"No quarantine in {source.location!r}: name the folder that apply moved files to.")
    mover = get_file_mover(source.location, access)
    result = UndoResult(source.location, *(DiskList(source.scratch) for _ in range(3)))
    with source.lock():
        moves = (move for move in reversed(source.read_moves()) if patterns.keep(move.source))
        for move in track(DiskList(source.scratch, moves)):
            if not mover.exists(move.target):
                if not mover.exists(move.source):
                    result.lost.append(move.source)
                    tell(f"missing {escape_invisible(move.source)}")
                continue
            try:
                expected = mover.describe_copy(move.target, move.known)
                mover.move(source.resolve(move.target), source.resolve(move.source), expected)
            except RefusedError as error:
                result.refused.append((move.source, str(error)))
                tell(describe_refusal(move.target, str(error)))
                continue
            result.restored.append(move)
            tell(f"restored {escape_invisible(move.source)}")
        mover.remove_empty(source.files)
    return result
