"""The answer of a run, in words and in numbers."""

import pytest

from fastdup_ray.outputs.duplicate_counts import DuplicateCounts


@pytest.mark.parametrize(
    ("counts", "told"),
    [
        (
            DuplicateCounts(1500, 377, 140, 2_760_000),
            "377 of 1,500 images are duplicates. 140 are safe to drop (2.76 MB); 237 need your eye.",
        ),
        (DuplicateCounts(3, 1, 1, 10), "1 of 3 images is a duplicate. 1 is safe to drop (10 bytes)."),
        (DuplicateCounts(3, 1, 0, 0), "1 of 3 images is a duplicate. 1 needs your eye."),
        (DuplicateCounts(3, 0, 0, 0), "No duplicates found."),
    ],
)
def test_it_is_one_sentence_without_zeros(counts, told):
    assert counts.text() == told


def test_it_comes_back_from_the_counts_of_a_run():
    counts = DuplicateCounts(1500, 377, 140, 2_760_000)
    assert counts.to_review == counts.to_counts()["to_review"] == 237
    assert DuplicateCounts.of({"images": 1500, **counts.to_counts()}) == counts
    assert DuplicateCounts.of({"images": 1500, "exact_copies": 2}) is None
