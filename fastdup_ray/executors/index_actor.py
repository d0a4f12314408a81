"""The one actor that merges, builds the index and searches: placed where its memory fits, restarted if it dies."""

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
    """The index actor, which starts with its first step or reservation."""

    def __init__(self) -> None:
        self._actor: Any = None
        self._requests: Sequence[tuple[int, int]] = [(0, 0)]

    def reserve(self, requests: Sequence[tuple[int, int]]) -> None:
        """Move the actor to a node with enough room, unless it has that much; it starts in the background.

        Args:
            requests: (bytes, GPUs), the best first. The next one is used if Ray says that no node will ever have so
                much.
        """
        (memory, gpus), (had_memory, had_gpus) = requests[0], self._requests[0]
        if self._actor is not None and memory <= had_memory and gpus <= had_gpus:
            return
        self._request_resources(requests)

    def _request_resources(self, requests: Sequence[tuple[int, int]]) -> None:
        self._requests = requests
        self.stop()
        self._start()

    def call(self, step: Callable[..., Result], *args: Any) -> Result:
        """Run `step(*args)` in the actor. It reserves no core, so it can be placed beside the extract actors."""
        if self._actor is None:
            self._start()
        while True:
            try:
                result: Result = call_with_retries(lambda: self._actor.run.remote(step, *args), self._start)
            except NoRoomError:
                if len(self._requests) == 1:
                    raise
                self._request_resources(self._requests[1:])
            else:
                return result

    @property
    def reserved(self) -> int:
        """Bytes that the actor reserves; 0 if it does not run."""
        return 0 if self._actor is None else self._requests[0][0]

    def stop(self) -> None:
        """End the actor, if it runs; the next step starts it again."""
        if self._actor is not None:
            end_actor(self._actor)
            self._actor = None

    def _start(self) -> None:
        memory, gpus = self._requests[0]
        resources: dict[str, Any] = {"num_cpus": 0, "memory": memory or None, "num_gpus": gpus}
        self._actor = ray.remote(**resources)(_IndexActor).remote()


class _IndexActor:
    """The process of the actor, which sees the GPUs that it was given, and no others."""

    def __init__(self) -> None:
        if not ray.get_gpu_ids():
            os.environ["CUDA_VISIBLE_DEVICES"] = ""

    def run(self, step: Callable[..., Result], *args: Any) -> Result:
        return run_step(step, *args)


def run_step(step: Callable[..., Result], *args: Any) -> Result:
    """Run a step in a worker."""
    return step(*args)


def call_with_retries(submit: "Callable[[], ray.ObjectRef[Any]]", restart: Callable[[], None] = lambda: None) -> Any:
    """Return the result of what `submit` submits to Ray, submitted again if its worker dies.

    Args:
        submit: Returns a reference to the result.
        restart: Called before the next attempt.

    Raises:
        WorkerError: `MAX_ATTEMPTS` workers died. Lost nodes do not count.
    """
    tries = 0
    while True:
        try:
            return get_result(submit())
        except NoRoomError:
            raise
        except WorkerError as error:
            tries += not isinstance(error, NodeLostError)
            if tries == MAX_ATTEMPTS:
                raise
            log.warning("%s Retrying the step.", error)
            restart()
