"""A second opinion on a finished work_dir, scored against or not: is all there that a run promises, and does it agree?

    python -m tests.checker WORK_DIR [--input FOLDER]

It knows the formats, not the package: nothing is imported from what it checks.
"""

import os

from .changed import check_changes
from .checks import CHECKS
from .run import Run
from .scored import SCORED_CHECKS, Scored
from .verified import check_verified

__all__ = ["check"]


def check(work_dir: str | os.PathLike, input_dir: str | os.PathLike | None = None) -> list[str]:
    """The broken promises, a line each; empty where all is well. `input_dir`: the folder that was the input."""
    run = Run(work_dir, input_dir)
    problems: list[str] = []
    seen: set[str] = set()
    todo = [(examine, run, "") for examine in (*CHECKS, check_changes, check_verified)]
    if (run.path / "test_summary.json").exists():
        scored = Scored(work_dir)
        todo += [(examine, scored, "scoring: ") for examine in SCORED_CHECKS]
    for examine, subject, prefix in todo:
        try:
            problems.extend(prefix + problem for problem in examine(subject))
        except Exception as error:  # whatever a damaged file leads to is a finding, not the end of the checker
            reason = f"{type(error).__name__}: {error}"
            if reason not in seen:  # many checks read the same file
                problems.append(f"{prefix}{examine.__name__}: {reason}")
            seen.add(reason)
    return problems
