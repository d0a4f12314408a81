"""The answer at the top of a page: how many images are duplicates, and how many of them can go."""

from dataclasses import dataclass

from fastdup_ray.common.facts import Counts
from fastdup_ray.outputs.duplicate_counts import DuplicateCounts


@dataclass(frozen=True)
class Answer:
    """What a page says first.

    Attributes:
        lead: How many images are duplicates.
        detail: What can be done about them; "" if there is nothing to do.
    """

    lead: str
    detail: str = ""


def answer_run(counts: Counts) -> Answer:
    """Return the answer of a run."""
    images = counts.get("images", 0)
    duplicates = DuplicateCounts.of(counts)
    if duplicates is None:  # of an earlier version
        number = counts.get("exact_copies", 0) + counts.get("near_copies", 0)
        if number:
            return Answer(f"{_count(number, 'duplicate')} in {_count(images, 'image')}.")
    elif duplicates.duplicates:
        lead, _, detail = duplicates.text().partition(". ")
        return Answer(f"{lead}.", detail)
    return Answer("No duplicates found.", f"Compared {_count(images, 'image')}.")


def answer_scoring(counts: Counts, leaked: int) -> Answer:
    """Return the answer of a scoring.

    Args:
        counts: Of the scoring.
        leaked: New images that duplicate an indexed image.
    """
    images = counts.get("images", 0)
    if not leaked:
        return Answer("No duplicates found.", f"Compared {_count(images, 'new image')} with the indexed images.")
    verb = "duplicates" if leaked == 1 else "duplicate"
    return Answer(f"{leaked:,} of {_count(images, 'new image')} {verb} an indexed image.")


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
