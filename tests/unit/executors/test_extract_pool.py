"""What a death says of the picture that was at work: a node's nothing, an actor's something."""

from dataclasses import dataclass

import pytest
import ray
from ray.exceptions import (
    ActorDiedError,
    ActorUnavailableError,
    ActorUnschedulableError,
    NodeDiedError,
    OutOfMemoryError,
)

from fastdup_ray.common.records import ImageRef, Shard
from fastdup_ray.errors import ConfigError, WorkerError
from fastdup_ray.executors import extract_pool, index_actor
from fastdup_ray.executors.attempts import MAX_STARTS, Attempt
from fastdup_ray.executors.extract_pool import ExtractPool, _Worker
from fastdup_ray.executors.ray_results import NodeLostError, is_node_lost
from fastdup_ray.executors.worker_counts import Placement
from fastdup_ray.extract.extractor import ExtractSpec

UNAVAILABLE = ActorUnavailableError("RpcError: Socket closed", None)


@pytest.mark.parametrize(
    ("error", "lost"),
    [
        (UNAVAILABLE, True),
        (NodeDiedError("the node is gone"), True),
        (ActorDiedError(), False),
        (OutOfMemoryError("Task was killed due to the node running low on memory."), False),
    ],
)
def test_whose_death_it_is(error, lost):
    assert is_node_lost(error) is lost


@dataclass
class Member:
    """A crew with one member, who has one shard at work."""

    crew: ExtractPool
    attempt: Attempt

    def dies(self, error) -> int:
        """How many receipts come of it; it gets its shard again."""
        member = _Worker(object(), None, {object(): self.attempt})
        self.crew._queue.clear()
        self.crew._workers = [member]
        return len(list(self.crew._handle_death(member, error)))


@pytest.fixture
def member(monkeypatch) -> Member:
    monkeypatch.setattr(ray, "kill", lambda actor: None)
    refs = [ImageRef(f"{n}.jpg", 1, "") for n in range(4)]
    return Member(ExtractPool(None, lambda: Placement(1, 1)), Attempt(Shard(0, 4, range(4), refs)))


def test_nodes_may_go_as_often_as_they_like(member):
    for _ in range(10):
        assert member.dies(UNAVAILABLE) == 0
    assert member.attempt.failures == 0
    assert list(member.crew._queue) == [member.attempt]


def test_actors_that_die_over_one_shard_have_it_split(member):
    member.dies(ActorDiedError())
    assert list(member.crew._queue) == [member.attempt]
    member.dies(ActorDiedError())
    assert [len(each.shard.refs) for each in member.crew._queue] == [1] * 4


def test_boxes_of_one_photo_that_kills_actors_are_bad_at_once(member, monkeypatch):
    delivered: list[int] = []
    monkeypatch.setattr(extract_pool, "deliver_quarantined", lambda _, shard, __: delivered.append(len(shard.refs)))
    refs = [ImageRef(f"a.jpg#xywh={n},0,20,20", 1, "") for n in range(40)]
    member.attempt = Attempt(Shard(0, 40, range(40), refs))
    assert (member.dies(ActorDiedError()), member.dies(ActorDiedError())) == (0, 1)
    assert (delivered, list(member.crew._queue)) == ([40], [])
    member.attempt = Attempt(Shard(0, 41, range(41), [*refs, ImageRef("b.jpg#xywh=1,0,20,20", 1, "")]), failures=1)
    assert member.dies(ActorDiedError()) == 0
    assert len(member.crew._queue) > 1


def test_actors_whose_nodes_go_as_they_start_are_no_error(member):
    for _ in range(3 * MAX_STARTS):
        starting = _Worker(object(), object())
        member.crew._workers = [starting]
        assert list(member.crew._handle_death(starting, UNAVAILABLE)) == []
    with pytest.raises(WorkerError, match="die as they start"):
        for _ in range(MAX_STARTS):
            starting = _Worker(object(), object())
            member.crew._workers = [starting]
            list(member.crew._handle_death(starting, ActorDiedError()))


def test_one_that_asks_alone_and_has_no_room_is_an_error_and_others_are_asked_for_later(member):
    no_room = ActorUnschedulableError("there is none")
    several = _Worker(object(), object())
    member.crew._workers, member.crew._spec = [several], ExtractSpec(None, 1, None, 1, 1, {}, gpu=True)
    assert list(member.crew._handle_death(several, no_room)) == []
    alone = _Worker(object(), object(), was_alone=True)
    member.crew._workers = [alone]
    with pytest.raises(ConfigError, match="no node of this Ray has a GPU"):
        list(member.crew._handle_death(alone, no_room))


def test_a_step_is_done_again_as_often_as_nodes_go_and_three_times_else(monkeypatch):
    errors = [NodeLostError("gone")] * 5 + [WorkerError("died")] * 2

    def answer(ref):
        if errors:
            raise errors.pop(0)
        return "done"

    monkeypatch.setattr(index_actor, "get_result", answer)
    assert index_actor.call_with_retries(lambda: None) == "done"
    errors.extend([WorkerError("died")] * index_actor.MAX_ATTEMPTS)
    with pytest.raises(WorkerError, match="died"):
        index_actor.call_with_retries(lambda: None)
