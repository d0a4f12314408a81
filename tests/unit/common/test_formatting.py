"""Numbers as people read them."""

import pytest

from fastdup_ray.common.formatting import format_seconds


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0.0 s"), (2.06, "2.1 s"), (9.96, "10 s"), (59.6, "1 min 0 s"), (185, "3 min 5 s"), (7630, "2 h 7 min")],
)
def test_a_duration_has_the_units_that_matter(seconds, text):
    assert format_seconds(seconds) == text
