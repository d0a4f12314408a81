"""The processes of a Ray of our own: only those that a run uses.

`ray.init` also starts the server of the dashboard, the monitor of the autoscaler and, whatever its `log_to_driver`, the
log monitor. Each imports for a second or more while the workers of the run want the same cores. Ray has public switches
for none of them.
"""

import logging
import resource
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from subprocess import Popen
from typing import Any

import ray

log = logging.getLogger(__name__)

_heads: list[Any] = []
"""The head that this process has started, if it has. A process has one Ray at a time."""


@contextmanager
def start_head(*, log_monitor: bool, logging_level: int, **resources: int) -> Iterator[dict[str, Any]]:
    """Start a head node, if this version of Ray can be told what to start; at the end stop it, after `ray.shutdown`.

    The thread that calls this has to live as long as the context: Linux ends the processes with the thread.

    Args:
        log_monitor: Start the process that brings what workers print to the driver.
        logging_level: Of Ray's own log, while the head starts.
        resources: Of the node, as `ray.init` takes them.

    Yields:
        The arguments with which `ray.init` connects to the head, or starts everything itself.
    """
    logging.getLogger("ray").setLevel(logging_level)
    _allow_many_files()
    try:
        head = _start_node(log_monitor=log_monitor, **resources)
    except Exception as error:  # of any kind, if the private parts of this Ray are others
        log.debug("Starting Ray with all of its processes: %s", error)
        head = None
    if head is None:
        yield {"address": "local", "include_dashboard": False, **resources}
        return
    with ExitStack() as stack:
        _heads.append(head)
        stack.callback(_heads.remove, head)
        stack.callback(head.kill_all_processes, check_alive=False, allow_graceful=True)
        stack.callback(head.destroy_external_storage)
        yield {"address": head.address}


def list_ended() -> list[tuple[str, "Popen[bytes]"]]:
    """Return the processes of a Ray that this process has started, and that have ended: their names, and they."""
    node: Any = ray._private.worker._global_node
    return [ended for each in (*_heads, node) if each for ended in each.dead_processes()]


def _start_node(*, log_monitor: bool, **resources: int) -> Any:
    """Start a head node as `ray.init` does, but without the server of the dashboard and the monitor.

    This is all that is used of Ray's private parts; `tests/integration/test_own_ray.py` is for the versions that
    pyproject.toml allows.
    """
    from ray._private.node import Node
    from ray._private.parameter import RayParams

    class Head(Node):
        def __init__(self, parameters: RayParams) -> None:
            try:
                super().__init__(parameters, head=True, shutdown_at_exit=False, spawn_reaper=True)
            except BaseException:
                with suppress(AttributeError):  # it has started none
                    self.kill_all_processes(check_alive=False, allow_graceful=False)
                raise

        def start_api_server(self, **_: Any) -> None:
            self._webui_url = ""

    options: dict[str, Any] = {"include_log_monitor": log_monitor, "no_monitor": True, **resources}
    return Head(RayParams(include_dashboard=False, **options))


def _allow_many_files() -> None:
    """Let the processes of Ray open as many files as `ray.init` would."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 65536)), hard))
