"""The one actor that merges, indexes and searches: where its memory fits, and made again where it dies."""

import logging
import os
from collections.abc import Callable, Sequence
from typing import Any

import ray

from fastdup_ray.errors import WorkerError
from fastdup_ray.executors import Result
from fastdup_ray.executors.ray_results import NodeLostError, NoRoomError, end_actor, get_result

log = logging.getLogger(__name__)

MAX_ATTEMPTS = 3


class IndexActor:
    """Starts with its first step, or reservation."""

    def __init__(self) -> None:
        self._actor: Any = None
        self._asked: Sequence[tuple[int, int]] = [(0, 0)]

    def reserve(self, asked: Sequence[tuple[int, int]]) -> None:
        """From now on it is on a node that has so much to give; started in the background, if it has to be another.

        asked: (bytes, GPUs), the best first; the next where the cluster says that no node will ever have so much.
        """
        (memory, gpus), (had_memory, had_gpus) = asked[0], self._asked[0]
        if self._actor is not None and memory <= had_memory and gpus <= had_gpus:
            return
        self._request_resources(asked)

    def _request_resources(self, asked: Sequence[tuple[int, int]]) -> None:
        self._asked = asked
        self.stop()
        self._start()

    def call(self, step: Callable[..., Result], *args: Any) -> Result:
        """`step(*args)` in it. It has no core of its own: it waits while the extract actors have them all."""
        if self._actor is None:
            self._start()
        while True:
            try:
                return call_with_retries(lambda: self._actor.run.remote(step, *args), self._start)
            except NoRoomError:
                if len(self._asked) == 1:
                    raise
                self._request_resources(self._asked[1:])

    def stop(self) -> None:
        if self._actor is not None:
            end_actor(self._actor)
            self._actor = None

    def _start(self) -> None:
        memory, gpus = self._asked[0]
        self._actor = ray.remote(num_cpus=0, memory=memory or None, num_gpus=gpus)(_IndexActor).remote()


class _IndexActor:
    """Sees the GPUs that it was given, and no others."""

    def __init__(self) -> None:
        if not ray.get_gpu_ids():
            os.environ["CUDA_VISIBLE_DEVICES"] = ""

    def run(self, step: Callable[..., Result], *args: Any) -> Result:
        return run_step(step, *args)


def run_step(step: Callable[..., Result], *args: Any) -> Result:
    """What a worker does with a step."""
    return step(*args)


def call_with_retries(ask: Callable[[], ray.ObjectRef], before_next: Callable[[], None] = lambda: None) -> Any:
    """The answer to `ask()`, asked again where a worker dies over it; a node that goes does not count."""
    tries = 0
    while True:
        try:
            return get_result(ask())
        except NoRoomError:
            raise
        except WorkerError as error:
            tries += not isinstance(error, NodeLostError)
            if tries == MAX_ATTEMPTS:
                raise
            log.warning("%s The step is done again.", error)
            before_next()
