"""What `plan` says of the plan that it has written, and how its output ends."""

import os
import shlex
from dataclasses import dataclass
from functools import cached_property

from fastdup_ray.common.formatting import format_bytes, format_count
from fastdup_ray.curation.plan_row import PlanRow
from fastdup_ray.curation.suggest import SuggestedPlan
from fastdup_ray.outputs.duplicate_counts import DuplicateCounts

_NOT_COMPARED = (
    "Some images are kept whatever their similarity, because their embedding does not show all of the file: almost "
    "blank, or with more pages, channels or detail (see unseen in images.parquet)."
)


ANY_SIDECARS = "--any-sidecars"
"""The option with which sidecars keep no image, of `plan` as of `apply`."""


@dataclass(frozen=True)
class PlanSummary:
    """A plan that was written.

    Attributes:
        path: Path or URI of its file; `-` for standard output.
        plan: What it says.
        work_dir: The work_dir of the run.
        found: What the run has said of its duplicates; None if it did not count them.
        options: Parameters of the plan that were given, as flags, such as `--drop same,cropped`.
        is_stdout: Whether it was written to standard output.
        not_compared: Number of images that are kept though they are similar to others; see `count_not_compared`.
    """

    path: str
    plan: SuggestedPlan
    work_dir: str
    found: DuplicateCounts | None = None
    options: tuple[str, ...] = ()
    is_stdout: bool = False
    not_compared: int = 0

    @cached_property
    def rows(self) -> list[PlanRow]:
        """Its rows, which are made when they are asked for: a kilobyte of memory each."""
        return list(self.plan.rows())

    @property
    def dropped(self) -> int:
        """Number of images to drop."""
        return self.plan.dropped

    @property
    def dropped_bytes(self) -> int:
        """Bytes of their files; 0 for boxes of photos."""
        return self.plan.dropped_bytes

    @property
    def held(self) -> int:
        """Number of images that are kept because of their sidecars."""
        return len(self.plan.choice.held)

    def text(self) -> str:
        """Return what the command prints: the counts, where the plan is, and what to do next."""
        lines = [self._describe_duplicates()]
        if self.held:
            kept = "duplicate is kept because it has" if self.held == 1 else "duplicates are kept because they have"
            lines.append(
                f"{self.held:,} {kept} sidecars, such as annotations, that are missing beside the keeper or differ "
                "there: see the reasons in the plan. To drop them all the same, add --any-sidecars."
            )
        if self.not_compared:
            lines.append(_NOT_COMPARED)
        lines.append("The plan was written to standard output." if self.is_stdout else f"Plan: {self.path}")
        if len(self.plan.choice.row):
            lines.append(self._describe_next_step())
        return "\n".join(lines)

    def _describe_duplicates(self) -> str:
        """Return what the run has said, and how many images this plan drops if it is another number."""
        found = self.found
        size = f" ({format_bytes(self.dropped_bytes)})" if self.dropped_bytes else ""
        own = f"This plan drops {format_count(self.dropped, 'image')}{size}"
        if found is None:
            return f"{own}." if self.dropped else "Nothing to drop."
        answer = found.text()
        if found.to_review:
            answer = f"{answer.removesuffix('.')}: fastdup-ray serve {shlex.quote(self.work_dir)}"
        if (self.dropped, self.dropped_bytes) == (found.safe_to_drop, found.safe_bytes):
            return answer if self.dropped else f"{answer}\nNothing to drop."
        reason = f", as asked by {' '.join(self.options)}" if self.options else ""
        return f"{answer}\n{own}{reason}."

    def _describe_next_step(self) -> str:
        annotations = (self.plan.run.config.get("annotations") or "").lower()
        if annotations:
            kind = {".json": "coco", ".csv": "csv"}.get(os.path.splitext(annotations)[1], "yolo")
            plan = f" --plan {shlex.quote(self.path)}" if os.path.dirname(self.path) != self.work_dir else ""
            export = f"fastdup-ray export {shlex.quote(self.work_dir)} --format {kind}{plan}"
            return f"Boxes of photos are never moved. To write the annotations without those to drop: {export}"
        is_elsewhere = self.is_stdout or os.path.dirname(self.path) != self.work_dir
        run = f" --work-dir {shlex.quote(self.work_dir)}" if is_elsewhere else ""
        if ANY_SIDECARS in self.options:
            run += f" {ANY_SIDECARS}"
        if self.is_stdout:
            return f"Nothing was moved. Save the plan to a file, then preview with: fastdup-ray apply FILE{run}"
        apply = f"fastdup-ray apply {shlex.quote(self.path)}{run}"
        return f"Nothing was moved. Review or edit the plan, then preview with: {apply}"
