"""What Ray's workers answer: results, or errors as they were raised there."""

from contextlib import suppress
from typing import Any

import ray
from ray.exceptions import ActorUnavailableError, ActorUnschedulableError, NodeDiedError, RayError, RayTaskError

from fastdup_ray.errors import FastdupError, RayEndedError, WorkerError, redact

_NEEDED = ("gcs_server", "raylet")
"""Processes of a Ray without which nothing is done; Ray itself waits for them, or ends this process after a minute."""


def wait_any(refs: list[ray.ObjectRef]) -> ray.ObjectRef:
    """Return the first of `refs` that is done; raise `RayEndedError` where that cannot be any more."""
    while True:  # Python hears of Ctrl-C only between two calls
        refuse_ended()
        if done := ray.wait(refs, num_returns=1, timeout=1.0)[0]:
            return done[0]


def refuse_ended() -> None:
    """Raise `RayEndedError` where a Ray that this process has started is gone."""
    node = ray._private.worker._global_node
    for name, process in node.dead_processes() if node else ():
        if name in _NEEDED:
            raise RayEndedError(
                f"Ray's {name} ended unexpectedly ({_explain_exit(process.returncode)}). "
                "Run the same command to resume."
            )


def _explain_exit(code: int) -> str:
    return f"killed by signal {-code}" if code < 0 else f"exit code {code}"


def end_actor(actor: Any) -> None:
    """End an actor. Ray refuses to end one that never started, which is as well."""
    with suppress(RayError):
        ray.kill(actor)


def get_result(ref: ray.ObjectRef) -> Any:
    """What the worker returned; its own errors as they were raised there."""
    try:
        return ray.get(wait_any([ref]))
    except RayTaskError as error:
        raise find_cause(error) from None
    except ActorUnschedulableError as error:
        raise NoRoomError(f"No node has room for a worker: {get_last_line(error)}") from None
    except RayError as error:
        kind = NodeLostError if is_node_lost(error) else WorkerError
        raise kind(f"A worker died: {get_last_line(error)}.") from None


class NodeLostError(WorkerError):
    """A worker died because its node did, or cannot be reached."""


class NoRoomError(WorkerError):
    """A worker asked for more than any node has, there or to come."""


def is_node_lost(error: RayError) -> bool:
    """Whether it tells of a node rather than of what was at work on it: a spot node that is taken back, a cut link."""
    if isinstance(error, ActorUnavailableError | NodeDiedError) or getattr(error, "preempted", False):
        return True
    return any(words in str(error).lower() for words in _OF_NODES)


_OF_NODES = ("node has died", "node was dead", "node died", "node is dead", "node failure", "node terminated")


def find_cause(error: RayTaskError) -> BaseException:
    return error.cause if isinstance(error.cause, FastdupError | OSError) else error


def get_last_line(error: Exception) -> str:
    lines = (line.strip() for line in reversed(redact(str(error)).splitlines()))
    return next(filter(None, lines), type(error).__name__)
