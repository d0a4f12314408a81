"""The answer at the top of a page."""

import pytest

from fastdup_ray.report.answer import Answer, answer_run, answer_scoring


@pytest.mark.parametrize(
    ("counts", "answer"),
    [
        (
            {"images": 1500, "duplicates": 377, "safe_to_drop": 140, "safe_bytes": 2_760_000},
            ("377 of 1,500 images are duplicates.", "140 are safe to drop (2.76 MB); 237 need your eye."),
        ),
        (
            {"images": 2, "duplicates": 1, "safe_to_drop": 1, "safe_bytes": 2_760_000},
            ("1 of 2 images is a duplicate.", "1 is safe to drop (2.76 MB)."),
        ),
        (
            {"images": 1, "duplicates": 0, "safe_to_drop": 0, "safe_bytes": 0},
            ("No duplicates found.", "Compared 1 image."),
        ),
        ({"images": 9, "exact_copies": 1, "near_copies": 2}, ("3 duplicates in 9 images.",)),
        ({"images": 9}, ("No duplicates found.", "Compared 9 images.")),
    ],
)
def test_the_answer_of_a_run(counts, answer):
    assert answer_run(counts) == Answer(*answer)


def test_the_answer_of_a_scoring():
    assert answer_scoring({"images": 20}, 3) == Answer("3 of 20 new images duplicate an indexed image.")
    assert answer_scoring({"images": 20}, 0).lead == "No duplicates found."
