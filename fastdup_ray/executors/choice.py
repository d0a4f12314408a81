"""Where a run with `executor=auto` works: in this process, or on Ray."""

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from fastdup_ray.config import RunConfig

MOST_LOCAL = 10_000
"""Images up to which a run does without Ray. Both read images with a process for each core, but Ray takes seconds to
start. The number is a judgment, not a measurement."""


@dataclass(frozen=True)
class ExecutorChoice:
    """The executor of a run.

    Attributes:
        executor: The executor.
        why: Why this one, in words.
    """

    executor: Literal["local", "ray", "inline"]
    why: str


def choose_executor(config: RunConfig, count: Callable[[], int]) -> ExecutorChoice:
    """Return the executor of a run; with `auto` the one that suits it.

    That is Ray for clusters, GPUs and more than `MOST_LOCAL` images, and this process for all else.

    Args:
        config: Of the run.
        count: Returns the number of images; only called if it matters.
    """
    if choice := choose_by_parameters(config):
        return choice
    n = count()
    if n > MOST_LOCAL:
        return ExecutorChoice("ray", f"more than {MOST_LOCAL:,} images")
    return ExecutorChoice("local", f"{n:,} images, at most {MOST_LOCAL:,}")


def choose_by_parameters(config: RunConfig) -> ExecutorChoice | None:
    """Return the executor of a run as far as that does not depend on the number of images; else None."""
    if config.executor != "auto":
        return ExecutorChoice(config.executor, "as asked for")
    if os.environ.get("RAY_ADDRESS", "local") not in ("", "local"):
        return ExecutorChoice("ray", "RAY_ADDRESS names a cluster")
    if "ray" in sys.modules and sys.modules["ray"].is_initialized():
        return ExecutorChoice("ray", "this process uses Ray")
    if config.compute == "gpu" or config.num_actors is not None:
        return ExecutorChoice("ray", "compute=gpu" if config.compute == "gpu" else "num_actors is given")
    return None
