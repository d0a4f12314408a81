"""The command `apply`: carries a plan out, by moving what is dropped to a quarantine."""

import hashlib
import os
import shlex
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

from fastdup_ray.common import layout
from fastdup_ray.common.formatting import format_bytes
from fastdup_ray.common.names import escape_invisible
from fastdup_ray.common.paths import accept_paths
from fastdup_ray.curation.file_ops import get_file_mover
from fastdup_ray.curation.journal import Move, Quarantine
from fastdup_ray.curation.moves import MovePlan, make_identity, plan_moves
from fastdup_ray.curation.plan_file import PlanRow, read_plan
from fastdup_ray.curation.provenance import check_provenance, store_of_run
from fastdup_ray.errors import BadImageError, RefusedError
from fastdup_ray.inputs import find_frame, is_standalone_file, read_entry, stat
from fastdup_ray.inputs.video import hash_frame
from fastdup_ray.s3 import Access, make_access

Location = str | os.PathLike[str]
Tell = Callable[[str], None]


@dataclass
class ApplyResult:
    """What a call did, or would do. earlier: pictures that an earlier call moved. refused: names and reasons."""

    quarantine: str
    executed: bool
    moved: list[Move] = field(default_factory=list)
    refused: list[tuple[str, str]] = field(default_factory=list)
    already_moved: int = 0

    def text(self) -> str:
        """What the command prints at the end."""
        pictures = [move for move in self.moved if not move.with_]
        size = format_bytes(sum(move.known.size or 0 for move in pictures))
        beside = (
            f" and {len(self.moved) - len(pictures):,} files beside them" if len(self.moved) > len(pictures) else ""
        )
        lines = [f"{len(pictures):,} pictures{beside} {self._word('went', 'would go')} to {self.quarantine}, {size}."]
        if self.already_moved:
            lines.append(f"{self.already_moved:,} pictures are there since an earlier call.")
        if self.executed:
            lines.append(f"To put all back: fastdup-ray undo {shlex.quote(self.quarantine)}")
        else:
            lines.append("Nothing was touched. To do it: the same call with --execute")
        return "\n".join(lines)

    def check(self) -> None:
        """Raises `RefusedError` where anything was refused."""
        if self.refused:
            stay = self._word("stay", "would stay")
            raise RefusedError(f"{len(self.refused):,} files {stay} where they are; a line above says why for each.")

    def _word(self, executed: str, otherwise: str) -> str:
        return executed if self.executed else otherwise


@accept_paths("plan", "quarantine", "work_dir")
def apply_plan(
    plan: Location,
    quarantine: Location = layout.QUARANTINE,
    execute: bool = False,
    tell: Tell = lambda line: None,
    work_dir: Location | None = None,
    any_plan: bool = False,
    *,
    s3_anonymous: bool = False,
    s3_requester_pays: bool = False,
) -> ApplyResult:
    """Moves what a plan drops to a quarantine, and their sidecars with them; without `execute` it only says so.

    Nothing is deleted, nothing is written over. Right before each move the picture and its keeper are compared, to the
    last byte, with what the run saw; what differs is left alone. A journal of all moves is on the disk before the first
    of them begins, so that a call can be killed at any moment: the same call goes on, `undo` goes back.

    Args:
        plan: CSV or JSON, a path or a URI.
        quarantine: the folder or prefix to move to.
        execute: do it, not only say it.
        tell: gets a line for each file.
        work_dir: of the run that the plan was made from; default: the folder of the plan.
        any_plan: take a plan of another run, or of none; each file is compared with its row all the same.
        s3_anonymous: send unsigned requests to S3.
        s3_requester_pays: pay for reads from requester-pays buckets.

    Raises:
        InputError: where there is no such plan or run, or the plan is of another run; then nothing moves.
        LockedError, WorkDirError: where the quarantine is in use, or cannot be one.
    """
    access = make_access(anonymous=s3_anonymous, requester_pays=s3_requester_pays)
    rows, where = read_plan(plan, access), Quarantine(quarantine, access)
    if not any_plan:
        check_provenance(rows, plan, store_of_run(plan, work_dir, access))
    place, applied = get_file_mover(where.location, access), ApplyResult(where.location, execute)
    where.refuse_foreign()
    if not execute:
        intended = plan_moves(rows, where)
        look = _ApplyCall(rows, intended, applied, tell, where)
        look.run(lambda move: place.check(where.resolve(move.source), move.known))
        return applied
    where.prepare()
    with where.lock():
        intended = plan_moves(rows, where)
        if intended.moves:
            where.write(intended.moves)
        work = _ApplyCall(rows, intended, applied, tell, where)
        work.run(lambda move: place.move(where.resolve(move.source), where.resolve(move.target), move.known))
    return applied


class _ApplyCall:
    """One call of `apply`: the moves it was asked for, and their results so far."""

    def __init__(
        self, rows: list[PlanRow], intended: MovePlan, applied: ApplyResult, tell: Tell, quarantine: Quarantine
    ):
        self._intended, self._applied, self._tell = intended, applied, tell
        self._real, self._access = quarantine.resolve, quarantine.access
        self._kept = {row.filename: row for row in rows if not row.is_dropped}
        self._gone = set(intended.already_moved)
        self._kept_files = {get_file_mover(name, self._access).get_identity(name): name for name in self._kept}

    def run(self, act: Callable[[Move], None]) -> None:
        self._applied.already_moved = len(self._gone)
        for name, reason in self._intended.refused:
            self._refuse(name, reason)
        for move in self._intended.moves:
            try:
                with self._check_allowed(move):
                    act(move)
            except RefusedError as error:
                self._refuse(move.source, str(error))
                continue
            self._gone.add(move.source)
            self._applied.moved.append(move)
            done = "moved" if self._applied.executed else "would move"
            why = f"goes with {move.with_[0]}" if move.with_ else f"a copy of {move.keeper}"
            self._tell(f"{done} {escape_invisible(move.source)} ({escape_invisible(why)})")

    def _refuse(self, name: str, reason: str) -> None:
        self._applied.refused.append((name, reason))
        self._tell(f"left {escape_invisible(name)}: {reason}")

    @contextmanager
    def _check_allowed(self, move: Move) -> Iterator[None]:
        """Sees that a file may go, and that its keeper stays what it is meanwhile; else raises `RefusedError`."""
        for picture in move.with_:
            if picture not in self._gone:
                raise RefusedError(f"{picture!r} stays, and may need it")
        with ExitStack() as held:
            if not move.with_:
                self._refuse_kept(move)
                try:
                    _hold_keeper(self._kept[move.keeper], held, self._access)
                except RefusedError as error:
                    raise RefusedError(f"its keeper {move.keeper!r} cannot be relied on: {error}") from None
            yield

    def _refuse_kept(self, move: Move) -> None:
        """A link to a picture that is kept: without it nothing would be free, and the picture may be gone."""
        identity, of_keeper = (
            get_file_mover(name, self._access).get_identity(name) for name in (self._real(move.source), move.keeper)
        )
        same = move.keeper if identity == of_keeper else self._kept_files.get(identity)
        if identity is not None and same is not None:
            raise RefusedError(f"it is the same file as {same!r}, which is kept")


def _hold_keeper(keeper: PlanRow, held: ExitStack, access: Access) -> None:
    """Checks a keeper, and has it stay as it is until the end of `held`."""
    if is_standalone_file(keeper.filename, access):
        held.enter_context(get_file_mover(keeper.filename, access).hold(keeper.filename, make_identity(keeper)))
        return
    try:  # a reference picture in an archive, or a frame of a video: nothing of ours moves those
        digest = hashlib.sha256(read_entry(stat(keeper.filename, access), access)).hexdigest()
    except BadImageError as error:
        raise RefusedError(error.message) from None
    _, milliseconds = find_frame(keeper.filename, access)
    if milliseconds is not None:
        digest = hash_frame(digest, milliseconds)
    if digest != keeper.sha256:
        raise RefusedError("it changed: other bytes than at the run")
