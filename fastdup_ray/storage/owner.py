"""Who holds a lock: what a lock file says of it, for people and for the next who comes."""

import json
import os
import socket
from datetime import UTC, datetime
from pathlib import Path
from typing import Any


def owner() -> dict[str, Any]:
    """This process, told from any other of its host, also from a later one with the same number."""
    pid = os.getpid()
    since = datetime.now(UTC).isoformat(timespec="seconds")
    return {"host": socket.gethostname(), "pid": pid, "since": since, "started": _started(pid)}


def is_dead(text: str) -> bool:
    """Whether the owner that `text` tells of was a process of this host that is no more."""
    known = _parsed(text)
    if known.get("host") != socket.gethostname() or not isinstance(known.get("pid"), int) or not known.get("started"):
        return False
    return _started(known["pid"]) != known["started"]


def told(text: str) -> str:
    known = _parsed(text)
    try:
        return "host {host}, process {pid}, since {since}".format(**known)
    except KeyError:
        return "several runs of offset ranges"


def _parsed(text: str) -> dict[str, Any]:
    try:
        known = json.loads(text)
    except ValueError:
        return {}
    return known if isinstance(known, dict) else {}


def _started(pid: int) -> str:
    """When a process began, by the kernel's clock since its own start; "" where there is none, or no /proc."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return f"{boot}:{after_name[19]}"  # field 22 of proc(5)
