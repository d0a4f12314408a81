"""Python's search for unreachable objects."""

import gc

import pytest

from fastdup_ray.system.garbage import pause_collection


@pytest.fixture(params=[True, False])
def enabled(request):
    """Whether the search was enabled before."""
    before = gc.isenabled()
    (gc.enable if request.param else gc.disable)()
    yield request.param
    (gc.enable if before else gc.disable)()
    gc.unfreeze()


def test_the_search_pauses_and_then_is_as_it_was(enabled):
    with pause_collection():
        assert not gc.isenabled()
    assert gc.isenabled() is enabled


def test_what_was_made_meanwhile_is_skipped_later(enabled):
    frozen = gc.get_freeze_count()
    with pause_collection():
        made = [[] for _ in range(100)]
    assert gc.get_freeze_count() >= frozen + len(made)
