"""The command `apply`: carry out a plan by moving the dropped images to a quarantine."""

import hashlib
import os
import shlex
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import compress, islice
from typing import Any

import numpy as np

from fastdup_ray.common import layout
from fastdup_ray.common.access import Access, make_access
from fastdup_ray.common.formatting import format_bytes, format_count
from fastdup_ray.common.names import escape_invisible
from fastdup_ray.common.paths import accept_paths
from fastdup_ray.common.row_index import RowIndex
from fastdup_ray.curation.file_ops import get_file_mover
from fastdup_ray.curation.journal import Move, Quarantine
from fastdup_ray.curation.moves import MovePlan, make_identity, plan_moves
from fastdup_ray.curation.plan import Plan
from fastdup_ray.curation.plan_file import read_plan
from fastdup_ray.curation.plan_row import PlanRow
from fastdup_ray.curation.provenance import check_provenance, store_of_run
from fastdup_ray.errors import BadImageError, RefusedError
from fastdup_ray.inputs import find_part, is_standalone_file, read_entry, stat
from fastdup_ray.storage.disk_list import DiskList

Location = str | os.PathLike[str]
LineCallback = Callable[[str], None]
"""Gets a line for each file, as soon as its result is known."""

EXAMPLES = 5
"""Files that a result lists by default, of each kind."""

TrackMoves = Callable[[Sequence[Move]], Iterable[Move]]
"""Yields the moves that it is given, and may show how far they are, as `tqdm.tqdm` does."""


def ignore_line(line: str) -> None:
    """Print nothing: the default of a `LineCallback`."""


def track_silently(moves: Sequence[Move]) -> Sequence[Move]:
    """Show nothing: the default of a `TrackMoves`."""
    return moves


@dataclass
class ApplyResult:
    """What `apply_plan` did, or would do.

    Attributes:
        quarantine: Path or URI of the quarantine.
        executed: False for a dry run.
        moved: The moves of this call, of images and of their sidecars.
        refused: Name and reason of each file that stays where it is.
        already_moved: Number of images that an earlier call moved.
        held: Number of images that stay because of their sidecars.
    """

    quarantine: str
    executed: bool
    moved: DiskList[Move] = field(default_factory=DiskList)
    refused: DiskList[tuple[str, str]] = field(default_factory=DiskList)
    already_moved: int = 0
    held: int = 0

    def text(self, *, verbose: bool = False) -> str:
        """Return what the command prints in the end: the total, examples of files, and what to do next.

        Args:
            verbose: List all files, not only examples.
        """
        limit = None if verbose else EXAMPLES
        lines = [self._describe_total() if self.moved else "Nothing to move."]
        if self.already_moved:
            lines.append(f"Moved earlier: {format_count(self.already_moved, 'image')}.")
        lines += list_examples(_describe_move, self.moved, limit)
        if self.refused:
            stay = "Stayed where they are" if self.executed else "Would stay where they are"
            lines.append(f"{stay}: {format_count(len(self.refused), 'file')}.")
            lines += list_examples(describe_refusal, self.refused, limit)
        if self.held:
            lines.append(
                f"{format_count(self.held, 'image')} of these: because of sidecars, such as annotations, that are "
                "missing beside the keeper or differ there. Add --any-sidecars to move them all the same."
            )
        if self.already_moved or (self.moved and self.executed):
            lines.append(f"Undo with: fastdup-ray undo {shlex.quote(self.quarantine)}")
        return "\n".join(lines)

    def check(self) -> None:
        """Raise `RefusedError` if a file stays where it is though the plan drops it."""
        if self.refused:
            stayed = "stayed where they are" if self.executed else "would stay where they are"
            raise RefusedError(f"{format_count(len(self.refused), 'file')} {stayed}; see the reasons above.")

    def _describe_total(self) -> str:
        images = total = 0
        for move in self.moved:
            if not move.with_:
                images, total = images + 1, total + (move.known.size or 0)
        files = format_count(images, "image")
        if sidecars := len(self.moved) - images:
            files += f" and {format_count(sidecars, 'sidecar')}"
        size = format_bytes(total)
        if self.executed:
            return f"Moved {files} ({size}) to {self.quarantine}."
        return f"Would move {files} ({size}) to {self.quarantine}. Add --execute to move them."


@accept_paths("plan", "quarantine", "work_dir")
def apply_plan(
    plan: Location,
    quarantine: Location = layout.QUARANTINE,
    *,
    execute: bool = False,
    any_sidecars: bool = False,
    tell: LineCallback = ignore_line,
    track: TrackMoves = track_silently,
    work_dir: Location | None = None,
    any_plan: bool = False,
    s3_anonymous: bool = False,
    s3_requester_pays: bool = False,
) -> ApplyResult:
    """Move the images that a plan drops, and their sidecars, to a quarantine.

    Nothing is deleted or overwritten. Right before each move, the image and its keeper are compared with what the run
    saw, to the last byte; if one differs, the image stays where it is. The journal of all moves is on disk before the
    first of them. A call may be killed at any moment: the same call resumes it, and `undo` restores the files.

    Args:
        plan: A CSV or JSON file, a path or a URI.
        quarantine: The folder or prefix to move files to: empty, new, or made by `apply_plan`.
        execute: Move the files. By default, only check all files and return what would be done.
        any_sidecars: Move images even if they have sidecars, such as annotations, that their keepers lack, or have with
            other content. By default these images stay.
        tell: Gets a line for each file.
        track: Wraps the moves to show progress, such as `tqdm.tqdm`.
        work_dir: The work_dir of the run that the plan was made from; default: the folder of the plan.
        any_plan: Accept a plan of another run, or of none. Each file is still compared with its row.
        s3_anonymous: Send unsigned requests to buckets.
        s3_requester_pays: Pay for reads from requester-pays buckets.

    Returns:
        What was moved, and what was not, with the reasons.

    Raises:
        InputError: If there is no such plan or run, or the plan is of another run; then nothing is moved.
        ConfigError: If images of the plan are where nothing can be moved, such as at https:// addresses.
        LockedError: If another process uses the quarantine.
        WorkDirError: If the quarantine cannot be written, or is a folder with other content.
    """
    access = make_access(anonymous=s3_anonymous, requester_pays=s3_requester_pays)
    source, work_dir = os.fspath(plan), None if work_dir is None else os.fspath(work_dir)
    rows, target = read_plan(source, access), Quarantine(quarantine, access)
    if not any_plan:
        check_provenance(rows, source, store_of_run(source, work_dir, access))
    for name in rows.iter_names():
        get_file_mover(name, access)  # refuses what cannot be moved, before anything is written
    mover = get_file_mover(target.location, access)
    result = ApplyResult(target.location, execute, DiskList(rows.scratch), DiskList(rows.scratch))
    target.refuse_foreign()
    if not execute:
        dry_run = _ApplyCall(rows, plan_moves(rows, target, any_sidecars=any_sidecars), result, tell, target)
        dry_run.run(lambda move: mover.check(target.resolve(move.source), move.known), track)
        return result
    target.prepare()
    with target.lock():
        moves = plan_moves(rows, target, any_sidecars=any_sidecars)
        if moves.moves:
            target.write(moves.moves)
        call = _ApplyCall(rows, moves, result, tell, target)
        call.run(lambda move: mover.move(target.resolve(move.source), target.resolve(move.target), move.known), track)
    return result


class _ApplyCall:
    """One call of `apply_plan`: makes, or checks, the planned moves, and adds to the result.

    Args:
        plan: The plan.
        moves: What it asks for.
        result: Gets the results.
        tell: Gets a line for each file.
        quarantine: Where the files go.
    """

    def __init__(
        self,
        plan: Plan,
        moves: MovePlan,
        result: ApplyResult,
        tell: LineCallback,
        quarantine: Quarantine,
    ) -> None:
        self._plan, self._moves, self._result, self._tell = plan, moves, result, tell
        self._resolve, self._access = quarantine.resolve, quarantine.access
        self._is_moved = moves.is_moved.copy()
        self._kept_files = _KeptFiles(plan, quarantine.access)

    def run(self, act: Callable[[Move], None], track: TrackMoves) -> None:
        """Call `act` for each move that is allowed; it raises `RefusedError` for a file that has to stay."""
        self._result.already_moved, self._result.held = int(self._is_moved.sum()), self._moves.held
        for name, reason in self._moves.refused:
            self._refuse(name, reason)
        for move in track(self._moves.moves):
            try:
                with self._check_allowed(move):
                    act(move)
            except RefusedError as error:
                self._refuse(move.source, str(error))
                continue
            if not move.with_:
                self._is_moved[self._plan.find(move.source)] = True
            self._result.moved.append(move)
            self._tell(f"{'moved' if self._result.executed else 'would move'} {_describe_move(move)}")

    def _refuse(self, name: str, reason: str) -> None:
        self._result.refused.append((name, reason))
        self._tell(describe_refusal(name, reason))

    @contextmanager
    def _check_allowed(self, move: Move) -> Iterator[None]:
        """Check that a file may be moved, and hold its keeper meanwhile; else raise `RefusedError`."""
        for image in move.with_:
            if not self._is_moved[self._plan.find(image)]:
                raise RefusedError(f"{image!r} stays and may need it")
        with ExitStack() as stack:
            if not move.with_:
                self._refuse_kept(move)
                try:
                    _hold_keeper(self._plan[self._plan.find(move.keeper)], stack, self._access)
                except RefusedError as error:
                    raise RefusedError(f"its keeper {move.keeper!r} cannot be relied on: {error}") from None
            yield

    def _refuse_kept(self, move: Move) -> None:
        """Refuse a second name of a kept image: moving it frees no space, and the image itself may be lost."""
        identity, keeper_identity = (
            get_file_mover(name, self._access).get_identity(name) for name in (self._resolve(move.source), move.keeper)
        )
        if identity is None:
            return
        same = move.keeper if identity == keeper_identity else self._kept_files.find(identity)
        if same is not None:
            raise RefusedError(f"it is the same file as {same!r}, which is kept")


class _KeptFiles:
    """The files of the images that a plan keeps, whatever their names. In memory are 16 bytes for each.

    Args:
        plan: The plan.
        access: How buckets are accessed.
    """

    def __init__(self, plan: Plan, access: Access) -> None:
        self._plan, self._access = plan, access
        self._kept = np.flatnonzero(~plan.is_dropped).astype(plan.keeper.dtype)
        names = compress(plan.iter_names(), ~plan.is_dropped)
        self._index = RowIndex(map(self._identify, names), len(self._kept), self._get_identity)

    def find(self, identity: Hashable) -> str | None:
        """Return the name of a kept image that is a file; None if there is none."""
        place = self._index.find(identity)
        return None if place < 0 else self._plan[int(self._kept[place])].filename

    def _get_identity(self, place: int) -> Hashable:
        return self._identify(self._plan[int(self._kept[place])].filename)

    def _identify(self, name: str) -> Hashable:
        return get_file_mover(name, self._access).get_identity(name)


def _describe_move(move: Move) -> str:
    reason = f"with {move.with_[0]}" if move.with_ else f"duplicate of {move.keeper}"
    return f"{escape_invisible(move.source)} ({escape_invisible(reason)})"


def list_examples(describe: Callable[..., str], items: Sequence[Any], limit: int | None) -> Iterator[str]:
    """Yield lines for the first items, indented, and how many are left out.

    Args:
        describe: Returns the line of an item, or of the members of a tuple.
        items: All of them.
        limit: How many to yield; None: all.
    """
    for item in islice(items, limit):
        yield f"  {describe(*item) if isinstance(item, tuple) else describe(item)}"
    if limit is not None and len(items) > limit:
        yield f"  … and {len(items) - limit:,} more: --verbose lists all."


def describe_refusal(name: str, reason: str) -> str:
    """Return the line for a file that stays where it is."""
    return f"skipped {escape_invisible(name)}: {reason}"


def _hold_keeper(keeper: PlanRow, stack: ExitStack, access: Access) -> None:
    """Check that a keeper is what the run saw, and keep it from being moved until `stack` ends."""
    if is_standalone_file(keeper.filename, access):
        stack.enter_context(get_file_mover(keeper.filename, access).hold(keeper.filename, make_identity(keeper)))
        return
    try:  # a reference in an archive, or a frame of a video: no command moves those
        digest = hashlib.sha256(read_entry(stat(keeper.filename, access), access)).hexdigest()
    except BadImageError as error:
        raise RefusedError(error.message) from None
    if find_part(keeper.filename, access).hash(digest) != keeper.sha256:
        raise RefusedError("it changed since the run: different content")
