"""Who holds a lock: what a lock file says of it, for people and for the next run that comes."""

import json
import os
import socket
from datetime import UTC, datetime
from pathlib import Path
from typing import Any


def describe_this_process() -> dict[str, Any]:
    """Describe this process, so that it is told from any other of its kernel, also from a later one with its number."""
    pid = os.getpid()
    since = datetime.now(UTC).isoformat(timespec="seconds")
    return {"host": socket.gethostname(), "pid": pid, "since": since, "started": _read_start(pid), **_read_namespace()}


def is_dead(text: str) -> bool:
    """Whether the owner that `text` describes is known to be gone.

    Only a process of the same boot and the same process namespace can be looked for: hosts and containers may share a
    name, and the same number means another process in each. Of all others nothing is known but their silence.
    """
    known, own = _parse(text), _read_namespace()
    if not own or any(known.get(name) != value for name, value in own.items()):
        return False
    if not isinstance(known.get("pid"), int) or not known.get("started"):
        return False
    return _read_start(known["pid"]) != known["started"]


def is_of_this_kernel(text: str) -> bool:
    """Whether the owner that `text` describes is, or was, a process of this boot of this machine."""
    own = _read_namespace()
    return bool(own) and _parse(text).get("boot") == own["boot"]


def names_owner(text: str) -> bool:
    """Whether `text` describes anybody: a process that was killed as it began to write does not."""
    return "pid" in _parse(text)


def describe_owner(text: str) -> str:
    """Describe an owner for people."""
    try:
        return "host {host}, process {pid}, since {since}".format(**_parse(text))
    except KeyError:
        return "it has just begun"


def _parse(text: str) -> dict[str, Any]:
    try:
        known = json.loads(text)
    except ValueError:
        return {}
    return known if isinstance(known, dict) else {}


def _read_namespace() -> dict[str, str]:
    """Where the number of a process means what it means here; empty where there is no /proc."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return {"boot": boot, "pid_namespace": os.readlink("/proc/self/ns/pid")}
    except OSError:
        return {}


def _read_start(pid: int) -> str:
    """When a process began, in ticks since the boot; "" where there is none, or no /proc."""
    try:
        after_name = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return ""
    return after_name[19]  # field 22 of proc(5)
