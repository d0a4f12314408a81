"""How many entries the shards of an extraction have."""

from itertools import islice

import pytest

from fastdup_ray.common.records import ShardReceipt
from fastdup_ray.extract.model import BATCH
from fastdup_ray.runs import shard_sizes
from fastdup_ray.runs.shard_sizes import SHARD_SECONDS, ShardSizes


@pytest.fixture
def clock(monkeypatch):
    """The time, which passes only when it is set."""
    now = [1000.0]
    monkeypatch.setattr(shard_sizes.time, "monotonic", lambda: now[0])
    return now


def read(sizes: ShardSizes, clock: list[float], counts: list[int], seconds: float) -> None:
    """Let the actors read some shards, one after the other."""

    def receipts():
        for count in counts:
            clock[0] += seconds
            yield ShardReceipt(0, count, "", count - 1, 1, 0)

    list(sizes.count(receipts()))


@pytest.mark.parametrize(("actors", "threads"), [(1, 1), (2, 1), (1, 4)])
def test_every_actor_gets_a_small_shard_first_and_then_larger_ones(actors, threads):
    sizes = list(islice(ShardSizes(64 * BATCH, actors, threads), 20 * actors))
    assert sizes[:actors] == [BATCH * threads] * actors
    assert sizes == sorted(sizes)
    assert sizes[-1] == 64 * BATCH


def test_no_shard_is_larger_than_the_largest():
    assert set(islice(ShardSizes(BATCH, 2, 4), 9)) == {BATCH}


def test_slow_images_come_in_shards_that_take_some_seconds(clock):
    sizes = ShardSizes(64 * BATCH, 2, 1)
    upcoming = iter(sizes)
    list(islice(upcoming, 20))
    read(sizes, clock, [BATCH] * 11, seconds=0.4)  # the first does not count
    per_actor = BATCH / 0.4 / 2
    size = next(upcoming)
    assert size % BATCH == 0
    assert per_actor * SHARD_SECONDS - BATCH < size <= per_actor * SHARD_SECONDS


def test_images_that_take_very_long_still_come_in_batches(clock):
    sizes = ShardSizes(64 * BATCH, 2, 1)
    read(sizes, clock, [BATCH] * 3, seconds=600)
    assert set(islice(sizes, 20)) == {BATCH}


def test_the_start_of_the_actors_does_not_count(clock):
    sizes = ShardSizes(64 * BATCH, 1, 1)
    read(sizes, clock, [BATCH], seconds=3600)
    read(sizes, clock, [10 * BATCH], seconds=0.01)
    assert list(islice(sizes, 20))[-1] == 64 * BATCH


def test_receipts_pass_as_they_are():
    receipt = ShardReceipt(0, 8, "stem", 8, 0, 0)
    assert list(ShardSizes(BATCH, 1, 1).count([receipt])) == [receipt]
