"""The control groups (cgroups) of this process: the limits of a container, a batch system or systemd.

Source: docs.kernel.org/admin-guide/cgroup-v2.html, and cgroup-v1/cgroups.html beside it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT, OWN = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")


@dataclass(frozen=True)
class Cgroup:
    """A control group.

    Attributes:
        folder: Folder with its files.
        version: 1 or 2; the versions name these files differently.
    """

    folder: Path
    version: int


def list_cgroups(controller: str, root: Path = ROOT, own: Path = OWN) -> Iterator[Cgroup]:
    """List the cgroups that this process is in, and all above them, in which a controller may set a limit.

    Args:
        controller: Such as `cpu` or `memory`.
        root: Where the cgroup file systems are mounted.
        own: File with the cgroups of this process.
    """
    try:
        lines = [line.split(":", 2) for line in own.read_text(encoding="utf-8", errors="surrogateescape").splitlines()]
    except OSError:
        return
    for _, controllers, group in lines:
        if controllers and controller not in controllers.split(","):
            continue
        base = root / controllers
        inside = base / group.lstrip("/")
        for folder in {inside, *inside.parents, base}:
            if folder.is_relative_to(base):
                yield Cgroup(folder, 1 if controllers else 2)
