"""How many images of a run are duplicates: the one answer that the terminal, the report, `plan` and Python give."""

from dataclasses import dataclass
from typing import Self

from fastdup_ray.common.facts import Counts
from fastdup_ray.common.formatting import format_bytes


@dataclass(frozen=True)
class DuplicateCounts:
    """Numbers of images, as summary.json has them.

    Attributes:
        images: All images of the run.
        duplicates: Images that are not needed if one of each group of duplicates is kept. Images are in a group if they
            are exact duplicates, verified to be related or `unsure`, or not compared and more similar than
            `ccthreshold`; over any number of steps.
        safe_to_drop: Of these, the ones that `plan` drops by default: exact duplicates of an image that is kept, or
            verified to be the same.
        safe_bytes: Bytes of their files; 0 for boxes of photos.
    """

    images: int
    duplicates: int
    safe_to_drop: int
    safe_bytes: int

    @classmethod
    def of(cls, counts: Counts) -> Self | None:
        """Return those of a run; None if it did not count them: a scoring, mode 1, or an earlier version."""
        if "duplicates" not in counts:
            return None
        return cls(counts["images"], counts["duplicates"], counts["safe_to_drop"], counts["safe_bytes"])

    @property
    def to_review(self) -> int:
        """Duplicates that a person has to look at."""
        return self.duplicates - self.safe_to_drop

    def to_counts(self) -> Counts:
        """Return the counts for summary.json."""
        return {
            "duplicates": self.duplicates,
            "safe_to_drop": self.safe_to_drop,
            "safe_bytes": self.safe_bytes,
            "to_review": self.to_review,
        }

    def text(self) -> str:
        """Return the answer in words, such as `4 of 33 images are duplicates. 3 are safe to drop (2 MB); 1 needs …`."""
        if not self.duplicates:
            return "No duplicates found."
        parts = []
        if self.safe_to_drop:
            size = f" ({format_bytes(self.safe_bytes)})" if self.safe_bytes else ""
            parts.append(f"{self.safe_to_drop:,} {_agree(self.safe_to_drop, 'is', 'are')} safe to drop{size}")
        if self.to_review:
            parts.append(f"{self.to_review:,} {_agree(self.to_review, 'needs', 'need')} your eye")
        are = _agree(self.duplicates, "is a duplicate", "are duplicates")
        return f"{self.duplicates:,} of {self.images:,} images {are}. {'; '.join(parts)}."


def _agree(number: int, singular: str, plural: str) -> str:
    return singular if number == 1 else plural
