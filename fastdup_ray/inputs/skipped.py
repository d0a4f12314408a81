"""Files that a run skips because of their suffix: how many, to report them."""

import os
import re
import threading
from collections.abc import Mapping

from fastdup_ray.inputs.sidecars import SIDECAR_SUFFIXES
from fastdup_ray.inputs.suffixes import RAW_SUFFIXES

_NEVER_MISSED = SIDECAR_SUFFIXES - RAW_SUFFIXES | {".csv", ".tsv", ".html", ".htm", ".ini", ".db", ".lrv"}
"""Text and data beside images, and files of the system (`Thumbs.db`, `desktop.ini`): nobody expects images in them."""

_MAX_SUFFIXES = 1000
"""Suffixes that are counted separately: the names of a billion objects may all end differently."""

_REPORTED = 5
_SUFFIX = re.compile(r"\.(?=\w*[a-z])\w{1,10}")

NO_SUFFIX = "no suffix"
"""The key of files without a suffix, or with what does not look like one."""


class SkippedFiles:
    """The number of skipped files by suffix. Threads may add to it at the same time."""

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}
        self._lock = threading.Lock()

    def add(self, name: str) -> None:
        """Count a skipped file, unless nobody would expect it to be read, such as a text file."""
        suffix = os.path.splitext(name)[1].lower()
        if suffix in _NEVER_MISSED:
            return
        with self._lock:
            if not _SUFFIX.fullmatch(suffix) or (suffix not in self._counts and len(self._counts) >= _MAX_SUFFIXES):
                suffix = NO_SUFFIX
            self._counts[suffix] = self._counts.get(suffix, 0) + 1

    def counts(self) -> dict[str, int]:
        """Return suffix -> number of files, the most frequent first."""
        with self._lock:
            return dict(sorted(self._counts.items(), key=lambda item: (-item[1], item[0])))


def describe_skipped(counts: Mapping[str, int]) -> str:
    """Return `12 files skipped: .svg 9, .pdf 3 (unsupported suffix)`, or "" if none was skipped."""
    total = sum(counts.values())
    if not total:
        return ""
    parts = [f"{suffix} {count:,}" for suffix, count in list(counts.items())[:_REPORTED]]
    if others := total - sum(list(counts.values())[:_REPORTED]):
        parts.append(f"and {others:,} others")
    return f"{total:,} {'file' if total == 1 else 'files'} skipped: {', '.join(parts)} (unsupported suffix)"
