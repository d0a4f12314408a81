"""Memory that this process may still use."""

import os
from collections.abc import Iterator
from pathlib import Path

from fastdup_ray.system.cgroups import Cgroup, list_cgroups


def measure_free_memory() -> int:
    """Return the bytes of memory that this process can still use, by the machine and by the limits of its cgroups."""
    return min([_read_machine(), *_read_cgroups(list_cgroups("memory"))])


def _read_machine() -> int:
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        return next(int(line.split()[1]) << 10 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration):
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


_FILES = {
    1: ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file "),
    2: ("memory.max", "memory.current", "inactive_file "),
}
"""By cgroup version: the file with the limit, that with the usage, and the line of memory.stat with cached files."""


def _read_cgroups(cgroups: Iterator[Cgroup]) -> Iterator[int]:
    """Yield what each cgroup with a limit leaves. Cached files count as free, since the kernel can evict them."""
    for group in cgroups:
        limit, used, cached = _FILES[group.version]
        try:
            most = int((group.folder / limit).read_text(encoding="ascii"))
            now = int((group.folder / used).read_text(encoding="ascii"))
            stat = (group.folder / "memory.stat").read_text(encoding="ascii").splitlines()
        except (OSError, ValueError):  # "max" is no limit
            continue
        files = next((int(line.split()[1]) for line in stat if line.startswith(cached)), 0)
        yield max(0, most - now + files)
