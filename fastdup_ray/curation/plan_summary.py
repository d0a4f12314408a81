"""What `plan` says of the plan that it has written, and how its output ends."""

import shlex
from dataclasses import dataclass

from fastdup_ray.common.formatting import format_bytes, format_count
from fastdup_ray.curation.plan_file import PlanRow

_NOT_COMPARED = (
    "kept although similar to others, because the embedding does not show all of the file: almost blank, or with more "
    "pages, channels or detail (see unseen in images.parquet)."
)


@dataclass(frozen=True)
class PlanSummary:
    """A plan that was written.

    Attributes:
        path: Path or URI of its file; `-` for standard output.
        rows: Its rows.
        is_stdout: Whether it was written to standard output.
        not_compared: Number of images that are kept though they are similar to others; see `count_not_compared`.
        work_dir: The work_dir of the run if the plan is not in it; else "".
    """

    path: str
    rows: list[PlanRow]
    is_stdout: bool = False
    not_compared: int = 0
    work_dir: str = ""

    def text(self) -> str:
        """Return what the command prints: the counts, where the plan is, and what to do next."""
        lines = [self._describe_groups() if self.rows else "Nothing to drop."]
        if self.not_compared:
            lines.append(f"{format_count(self.not_compared, 'image')} {_NOT_COMPARED}")
        lines.append("The plan was written to standard output." if self.is_stdout else f"Plan: {self.path}")
        if self.rows:
            lines.append(self._describe_next_step())
        return "\n".join(lines)

    def _describe_groups(self) -> str:
        dropped = [row for row in self.rows if row.is_dropped]
        exact = sum(row.reason.startswith("same bytes") for row in dropped)
        size = format_bytes(sum(row.size or 0 for row in dropped))
        groups = format_count(len({row.group for row in self.rows}), "group")
        return (
            f"{groups} of {format_count(len(self.rows), 'image')}: {len(self.rows) - len(dropped):,} to keep, "
            f"{len(dropped):,} to drop ({size}; {exact:,} with the same bytes, {len(dropped) - exact:,} near "
            "duplicates). All other images are kept."
        )

    def _describe_next_step(self) -> str:
        run = f" --work-dir {shlex.quote(self.work_dir)}" if self.work_dir else ""
        if self.is_stdout:
            return f"Nothing was moved. Save the plan to a file, then preview with: fastdup-ray apply FILE{run}"
        apply = f"fastdup-ray apply {shlex.quote(self.path)}{run}"
        return f"Nothing was moved. Review or edit the plan, then preview with: {apply}"
