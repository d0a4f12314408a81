"""How much memory there is to take."""

import os
from pathlib import Path


def free_memory() -> int:
    """Bytes that this process could still take: what the machine has, or what its cgroup leaves."""
    return min([_of_machine(), *_of_cgroups()])


def _of_machine() -> int:
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        return next(int(line.split()[1]) << 10 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration):
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _of_cgroups(root: Path = Path("/sys/fs/cgroup"), own: Path = Path("/proc/self/cgroup")) -> list[int]:
    """Of each group that this process is in, and that has a limit; cached files can be let go of."""
    try:
        lines = [line.split(":", 2) for line in own.read_text().splitlines()]
    except OSError:
        return []
    left = []
    for _, controllers, group in lines:
        if controllers not in ("", "memory"):
            continue
        base = root / controllers
        limit, used, cached = (
            ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file ")
            if controllers
            else ("memory.max", "memory.current", "inactive_file ")
        )
        inside = base / group.lstrip("/")
        for folder in {inside, *inside.parents, base}:
            if not folder.is_relative_to(base):
                continue
            try:
                most = int((folder / limit).read_text())
                now = int((folder / used).read_text())
                stat = (folder / "memory.stat").read_text().splitlines()
            except (OSError, ValueError):  # "max" is no limit
                continue
            files = next((int(line.split()[1]) for line in stat if line.startswith(cached)), 0)
            left.append(max(0, most - now + files))
    return left
