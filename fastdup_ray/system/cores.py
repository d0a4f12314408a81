"""Number of CPU cores that this process may use."""

import math
import os
from collections.abc import Iterator

from fastdup_ray.system.cgroups import Cgroup, list_cgroups


def count_cores() -> int:
    """Return the number of cores that this process may use, by affinity and the quotas of its cgroups; at least 1."""
    most = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min([most, *_read_quotas(list_cgroups("cpu"))]))


def _read_quotas(cgroups: Iterator[Cgroup]) -> Iterator[int]:
    """Yield the CPU quotas in cores, rounded up."""
    for group in cgroups:
        try:
            if group.version == 2:
                quota, period = (group.folder / "cpu.max").read_text(encoding="ascii").split()
            else:
                quota, period = (
                    (group.folder / f"cpu.cfs_{name}_us").read_text(encoding="ascii") for name in ("quota", "period")
                )
            if int(quota) > 0:  # -1 is no limit
                yield math.ceil(int(quota) / int(period))
        except (OSError, ValueError):  # "max" is no limit, either
            continue
