"""The one actor that merges, indexes and searches: where its memory fits, and made again where it dies."""

import logging
import os
from collections.abc import Callable
from typing import Any

import ray

from fastdup_ray import s3
from fastdup_ray.errors import WorkerError
from fastdup_ray.executors import Result
from fastdup_ray.executors.answers import NodeLostError, result

log = logging.getLogger(__name__)

TRIES = 3


class IndexActor:
    """Starts with its first step, or reservation. memory: bytes, gpus: that it has reserved."""

    def __init__(self) -> None:
        self._actor: Any = None
        self._reserved = (0, 0)

    def reserve(self, memory: int, gpus: int) -> None:
        """From now on it is on a node that has so much to give; started in the background, if it has to be another."""
        had_memory, had_gpus = self._reserved
        if self._actor is not None and memory <= had_memory and gpus <= had_gpus:
            return
        self._reserved = (memory, gpus)
        self.stop()
        self._start()

    def call(self, step: Callable[..., Result], *args: Any) -> Result:
        """`step(*args)` in it. It has no core of its own: it waits while the extract actors have them all."""
        if self._actor is None:
            self._start()
        return tried(lambda: self._actor.run.remote(s3.settled(), step, *args), self._start)

    def stop(self) -> None:
        if self._actor is not None:
            ray.kill(self._actor)
            self._actor = None

    def _start(self) -> None:
        memory, gpus = self._reserved
        self._actor = ray.remote(num_cpus=0, memory=memory or None, num_gpus=gpus)(_IndexActor).remote()


class _IndexActor:
    """Sees the GPUs that it was given, and no others."""

    def __init__(self) -> None:
        if not ray.get_gpu_ids():
            os.environ["CUDA_VISIBLE_DEVICES"] = ""

    def run(self, access: s3.Access, step: Callable[..., Result], *args: Any) -> Result:
        return done(access, step, *args)


def done(access: s3.Access, step: Callable[..., Result], *args: Any) -> Result:
    """What a worker does with a step."""
    s3.use(access)
    return step(*args)


def tried(ask: Callable[[], ray.ObjectRef], before_next: Callable[[], None] = lambda: None) -> Any:
    """The answer to `ask()`, asked again where a worker dies over it; a node that goes does not count."""
    tries = 0
    while True:
        try:
            return result(ask())
        except WorkerError as error:
            tries += not isinstance(error, NodeLostError)
            if tries == TRIES:
                raise
            log.warning("%s The step is done again.", error)
            before_next()
