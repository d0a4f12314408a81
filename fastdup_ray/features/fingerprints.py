"""Fingerprints: which embeddings can be compared with each other."""

from fastdup_ray.common.facts import Fingerprint

MAY_DIFFER = ("onnxruntime", "cpu", "compute")
"""Parts of a fingerprint that change embeddings by rounding only, so that an index can be searched on any machine."""


def find_difference(first: Fingerprint, second: Fingerprint) -> str | None:
    """Return the part of two fingerprints because of which their embeddings cannot be compared; None if they can."""
    names = sorted({*first, *second} - {*MAY_DIFFER})
    return next((name for name in names if first.get(name) != second.get(name)), None)
