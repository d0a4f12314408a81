"""Results of Ray's workers: what they returned, or their errors as they were raised there."""

from contextlib import suppress
from typing import Any

import ray
from ray.exceptions import ActorUnavailableError, ActorUnschedulableError, NodeDiedError, RayError, RayTaskError

from fastdup_ray.errors import FastdupError, RayEndedError, WorkerError, redact
from fastdup_ray.executors.ray_head import list_ended

_NEEDED = ("gcs_server", "raylet")
"""Processes without which Ray does nothing. Ray itself waits for them, or ends this process after a minute."""


def wait_any(refs: "list[ray.ObjectRef[Any]]") -> "ray.ObjectRef[Any]":
    """Return the first of `refs` that is done; raise `RayEndedError` if Ray has ended."""
    while True:  # Python handles Ctrl-C only between two calls
        refuse_ended()
        if done := ray.wait(refs, num_returns=1, timeout=1.0)[0]:
            return done[0]


def refuse_ended() -> None:
    """Raise `RayEndedError` if a Ray that this process has started is gone."""
    for name, process in list_ended():
        if name in _NEEDED:
            raise RayEndedError(
                f"Ray's {name} ended unexpectedly ({_explain_exit(process.returncode)}). "
                "Run the same command to resume."
            )


def _explain_exit(code: int) -> str:
    return f"killed by signal {-code}" if code < 0 else f"exit code {code}"


def end_actor(actor: Any) -> None:
    """End an actor."""
    with suppress(RayError):  # it never started
        ray.kill(actor)


def get_result(ref: "ray.ObjectRef[Any]") -> Any:
    """Return what a worker returned.

    Raises:
        NoRoomError: No node has what the worker asked for, nor will.
        NodeLostError: The worker's node was lost.
        WorkerError: The worker died.
        RayEndedError: Ray has ended.
        BaseException: What the worker raised.
    """
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
    """The node of a worker was lost, or cannot be reached."""


class NoRoomError(WorkerError):
    """No node has what a worker asks for, nor will the autoscaler add one."""


def is_node_lost(error: RayError) -> bool:
    """Return whether the node is the cause, not the work on it: a spot node was taken back, the network failed."""
    if isinstance(error, ActorUnavailableError | NodeDiedError) or getattr(error, "preempted", False):
        return True
    return any(words in str(error).lower() for words in _OF_NODES)


_OF_NODES = ("node has died", "node was dead", "node died", "node is dead", "node failure", "node terminated")


def find_cause(error: RayTaskError) -> BaseException:
    """Return the error that a worker raised, if it is one for the user; else Ray's, which has the traceback."""
    cause: BaseException | None = error.cause
    return cause if isinstance(cause, FastdupError | OSError) else error


def get_last_line(error: Exception) -> str:
    """Return the last line of an error's text that says why, without credentials."""
    lines = (line.strip() for line in reversed(redact(str(error)).splitlines()))
    return next((line for line in lines if line and not line.startswith(_NO_CAUSE)), type(error).__name__)


_NO_CAUSE = "The actor never ran"
"""What Ray adds below the cause of the death of an actor that had not started."""
