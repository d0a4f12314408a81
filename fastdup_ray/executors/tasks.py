"""Steps mapped over items as tasks of Ray: few in flight, and one whose worker dies is done again, alone."""

import logging
from collections import deque
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass
from itertools import islice
from typing import Any

import ray

from fastdup_ray.errors import ConfigError, WorkerError
from fastdup_ray.executors import Result
from fastdup_ray.executors.index_actor import MAX_ATTEMPTS, run_step
from fastdup_ray.executors.placement import TaskSlots
from fastdup_ray.executors.ray_results import NodeLostError, NoRoomError, get_result, wait_any

log = logging.getLogger(__name__)

WAITING = 1
"""Tasks that wait for each at work, so that no worker idles."""


@dataclass(eq=False)
class _Attempt:
    item: tuple[Any, ...]
    failures: int = 0


def map_tasks(
    step: Callable[..., Result], items: Iterable[tuple[Any, ...]], memory: int, place: Callable[[], TaskSlots]
) -> Generator[Result, None, None]:
    """`step(*item, threads)` for each item, in the order in which they end. memory: bytes that a task reserves.

    place: what is there for them now; nodes come and go.
    """
    task = ray.remote(memory=memory, max_retries=0, scheduling_strategy="SPREAD")(run_step)
    fresh = map(_Attempt, items)
    queue: deque[_Attempt] = deque()
    given: dict[ray.ObjectRef, _Attempt] = {}
    share = None
    try:
        while True:
            share = _choose_slots(place, share)
            named = task.options(name=step.__name__, num_cpus=share.cores)
            room = (1 + WAITING) * share.at_once - len(given)
            queue.extend(islice(fresh, max(0, room - len(queue))))
            for _ in range(min(room, len(queue))):
                attempt = queue.popleft()
                given[named.remote(step, *attempt.item, share.cores)] = attempt
            if not given:
                return
            ref = wait_any(list(given))
            attempt = given.pop(ref)
            try:
                answer = get_result(ref)
            except NoRoomError:
                raise
            except WorkerError as error:
                attempt.failures += not isinstance(error, NodeLostError)
                if attempt.failures == MAX_ATTEMPTS:
                    raise
                log.warning("%s Its part is done again.", error)
                queue.appendleft(attempt)
            else:
                yield answer
    finally:
        for ref in given:
            ray.cancel(ref, force=True)


def _choose_slots(place: Callable[[], TaskSlots], before: TaskSlots | None) -> TaskSlots:
    try:
        return place()
    except ConfigError:
        if before is None:
            raise
        return before  # what was there may come again
