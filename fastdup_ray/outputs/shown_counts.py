"""The counts of a run that a `RunResult` shows."""

from collections.abc import Iterator
from typing import Any

from fastdup_ray.common.facts import Counts

_NAMES = {
    "entries": "files",
    "images": "images",
    "indexed": "indexed images",
    "duplicates": "duplicates",
    "safe_to_drop": "safe to drop",
    "to_review": "to review",
    "exact_copies": "exact duplicates",
    "near_copies": "near duplicates",
    "outliers": "outliers",
    "bad": "unreadable",
}

_WITHOUT_DUPLICATES = frozenset(["exact_copies", "near_copies"])
"""Counts that are shown of runs that did not count their duplicates."""


def iter_shown_counts(counts: Counts) -> Iterator[tuple[str, int]]:
    """Yield the counts for people, each with its name."""
    known: dict[str, Any] = {**counts}
    hidden = _WITHOUT_DUPLICATES if "duplicates" in known else frozenset()
    yield from ((words, known[name]) for name, words in _NAMES.items() if name in known and name not in hidden)
