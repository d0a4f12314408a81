"""The owner of a lock, as its record describes it: for messages, and to find out whether it is still alive."""

import json
import os
import socket
from datetime import UTC, datetime
from pathlib import Path
from typing import Any


def describe_this_process() -> dict[str, Any]:
    """Describe this process, so that it cannot be confused with another, or a later one with the same ID.

    Returns:
        Host, process ID, time of the lock, start time of the process, boot ID and PID namespace, where there is /proc.
    """
    pid = os.getpid()
    since = datetime.now(UTC).isoformat(timespec="seconds")
    return {"host": socket.gethostname(), "pid": pid, "since": since, "started": _read_start(pid), **_read_namespace()}


def is_dead(text: str) -> bool:
    """Return whether the owner of a lock is known to have ended.

    Only a process of the same boot and PID namespace can be looked up: hosts and containers may share a name, and a
    process ID means another process in each.

    Args:
        text: Content of the record.

    Returns:
        True if the owner has ended; False if it is alive, or cannot be looked up from here.
    """
    owner, own = _parse(text), _read_namespace()
    if not own or any(owner.get(name) != value for name, value in own.items()):
        return False
    pid, started = owner.get("pid"), owner.get("started")
    if not isinstance(pid, int) or not started:
        return False
    return bool(_read_start(pid) != started)


def is_of_this_kernel(text: str) -> bool:
    """Return whether the owner that a record describes is, or was, a process of this boot of this machine."""
    own = _read_namespace()
    return bool(own) and _parse(text).get("boot") == own["boot"]


def names_owner(text: str) -> bool:
    """Return whether a record names an owner. It does not if the owner was killed before it wrote the record."""
    return "pid" in _parse(text)


def describe_owner(text: str) -> str:
    """Describe the owner in a record for a message."""
    try:
        return "host {host}, process {pid}, since {since}".format(**_parse(text))
    except KeyError:
        return "it has just started"


def _parse(text: str) -> dict[str, Any]:
    try:
        owner = json.loads(text)
    except ValueError:
        return {}
    return owner if isinstance(owner, dict) else {}


def _read_namespace() -> dict[str, str]:
    """Return the boot ID and PID namespace, within which a process ID is unique; empty without /proc."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return {"boot": boot, "pid_namespace": os.readlink("/proc/self/ns/pid")}
    except OSError:
        return {}


def _read_start(pid: int) -> str:
    """Return when a process started, in ticks since the boot; "" if there is no such process, or no /proc."""
    try:
        after_name = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return ""
    return after_name[19]  # field 22 of proc(5)
