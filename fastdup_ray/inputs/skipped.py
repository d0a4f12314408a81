"""Which files a run leaves out because of their suffix, counted to be told."""

import os
import re
import threading
from collections.abc import Mapping

from fastdup_ray.inputs.suffixes import may_be_missed

_MOST_SUFFIXES = 1000
"""That are counted one by one: names of a billion objects may all end otherwise."""

_TOLD = 5
_SUFFIX = re.compile(r"\.(?=\w*[a-z])\w{1,10}")

NO_SUFFIX = "no suffix"
"""Under which files are counted that have none, or what looks like none."""


class SkippedFiles:
    """The number of files that were skipped, by suffix. Threads may add to it side by side."""

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}
        self._lock = threading.Lock()

    def add(self, name: str) -> None:
        """Count a file that is not taken, unless nobody would have expected that it is."""
        if not may_be_missed(name):
            return
        suffix = os.path.splitext(name)[1].lower()
        with self._lock:
            if not _SUFFIX.fullmatch(suffix) or (suffix not in self._counts and len(self._counts) >= _MOST_SUFFIXES):
                suffix = NO_SUFFIX
            self._counts[suffix] = self._counts.get(suffix, 0) + 1

    def counts(self) -> dict[str, int]:
        """Suffix -> number of files, the most frequent first."""
        with self._lock:
            return dict(sorted(self._counts.items(), key=lambda item: (-item[1], item[0])))


def describe_skipped(counts: Mapping[str, int]) -> str:
    """Return `12 files skipped: .cr2 9, .jxl 3 (unsupported suffix)`; nothing where none was."""
    total = sum(counts.values())
    if not total:
        return ""
    told = [f"{suffix} {count:,}" for suffix, count in list(counts.items())[:_TOLD]]
    if others := total - sum(list(counts.values())[:_TOLD]):
        told.append(f"and {others:,} others")
    return f"{total:,} {'file' if total == 1 else 'files'} skipped: {', '.join(told)} (unsupported suffix)"
