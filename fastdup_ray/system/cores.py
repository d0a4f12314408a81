"""How many cores there are to work with."""

import math
import os
from collections.abc import Iterator

from fastdup_ray.system.cgroups import Cgroup, list_cgroups


def count_cores() -> int:
    """Those that affinity and the quotas of its groups leave to this process; one at least."""
    most = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min([most, *_read_quotas(list_cgroups("cpu"))]))


def _read_quotas(limiting: Iterator[Cgroup]) -> Iterator[int]:
    """In whole cores, of which the last may not be had for all of the time."""
    for group in limiting:
        try:
            if group.version == 2:
                quota, period = (group.folder / "cpu.max").read_text(encoding="ascii").split()
            else:
                quota, period = (
                    (group.folder / f"cpu.cfs_{name}_us").read_text(encoding="ascii") for name in ("quota", "period")
                )
            if int(quota) > 0:  # -1 is no limit
                yield math.ceil(int(quota) / int(period))
        except (OSError, ValueError):  # "max" is none, either
            continue
