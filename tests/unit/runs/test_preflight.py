"""What a run settles before it starts."""

import pytest

from fastdup_ray.extract.model import BATCH
from fastdup_ray.runs.preflight import LARGEST_SHARD, SHARDS_PER_ACTOR, choose_shard_size


@pytest.mark.parametrize(("n", "actors"), [(1, 2), (100, 2), (10_000, 3), (1_000_000, 64)])
def test_several_actors_get_enough_shards_to_end_together(n, actors):
    size = choose_shard_size(n, actors)
    assert size % BATCH == 0
    assert 0 < size <= LARGEST_SHARD
    assert size == BATCH or -(-n // size) > actors * (SHARDS_PER_ACTOR - 1)


def test_an_actor_that_is_alone_waits_for_its_threads_as_seldom_as_may_be():
    assert choose_shard_size(135, 1) == LARGEST_SHARD
