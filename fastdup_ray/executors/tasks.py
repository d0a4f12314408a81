"""A step mapped over items as Ray tasks: few in flight, and one whose worker dies is repeated alone."""

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
from fastdup_ray.executors.ray_results import NodeLostError, NoRoomError, get_result, wait_any
from fastdup_ray.executors.worker_counts import TaskSlots

log = logging.getLogger(__name__)

WAITING = 1
"""Waiting tasks for each running one, so that no worker idles."""


@dataclass(eq=False)
class _Attempt:
    item: tuple[Any, ...]
    failures: int = 0


def map_tasks(
    step: Callable[..., Result], items: Iterable[tuple[Any, ...]], memory: int, place: Callable[[], TaskSlots]
) -> Generator[Result, None, None]:
    """Run `step(*item, threads)` for each item.

    Args:
        step: The step.
        items: Its arguments.
        memory: Bytes that each task reserves.
        place: Returns the room for tasks as the nodes are now.

    Yields:
        The results, in the order of completion.

    Raises:
        WorkerError: `MAX_ATTEMPTS` workers died over the same item. Lost nodes do not count.
        ConfigError: No node has that much memory.
    """
    task = ray.remote(memory=memory, max_retries=0, scheduling_strategy="SPREAD")(run_step)
    fresh = map(_Attempt, items)
    queue: deque[_Attempt] = deque()
    in_flight: dict[ray.ObjectRef[Any], _Attempt] = {}
    slots = None
    try:
        while True:
            slots = _choose_slots(place, slots)
            named = task.options(name=step.__name__, num_cpus=slots.cores)
            room = (1 + WAITING) * slots.at_once - len(in_flight)
            queue.extend(islice(fresh, max(0, room - len(queue))))
            for _ in range(min(room, len(queue))):
                attempt = queue.popleft()
                in_flight[named.remote(step, *attempt.item, slots.cores)] = attempt
            if not in_flight:
                return
            ref = wait_any(list(in_flight))
            attempt = in_flight.pop(ref)
            try:
                result = get_result(ref)
            except NoRoomError:
                raise
            except WorkerError as error:
                attempt.failures += not isinstance(error, NodeLostError)
                if attempt.failures == MAX_ATTEMPTS:
                    raise
                log.warning("%s Retrying its part.", error)
                queue.appendleft(attempt)
            else:
                yield result
    finally:
        for ref in in_flight:
            ray.cancel(ref, force=True)


def _choose_slots(place: Callable[[], TaskSlots], before: TaskSlots | None) -> TaskSlots:
    try:
        return place()
    except ConfigError:
        if before is None:
            raise
        return before  # the nodes that were there may return
