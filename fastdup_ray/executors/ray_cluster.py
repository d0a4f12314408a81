"""The Ray that a run uses: a running cluster or one of its own; its nodes and their resources."""

import faulthandler
import gc
import logging
import os
import signal
import socket
import threading
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from contextlib import ExitStack, contextmanager
from typing import Any

import ray
from ray._common.utils import get_ray_address_file
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from fastdup_ray.errors import WorkDirError, WorkerError
from fastdup_ray.executors.own_ray import cluster_environment, own_environment
from fastdup_ray.executors.ray_head import start_head
from fastdup_ray.executors.ray_results import get_last_line, get_result, refuse_ended
from fastdup_ray.executors.worker_counts import Node
from fastdup_ray.storage import Store

log = logging.getLogger(__name__)

OBJECT_STORE_BYTES = 256 << 20
"""Size of the object store of a Ray of our own. Images and embeddings never pass through it."""


_OF_AUTOSCALER = "ray.io/node-group"
"""The label of nodes that an autoscaler knows by their type: those of KubeRay, and of Ray's launcher since 2.50."""


@contextmanager
def connect_or_start(threads: int, *, verbose: bool) -> Iterator[None]:
    """Connect to the running cluster, or start a Ray of our own; at the end disconnect, or stop it.

    Args:
        threads: CPUs of a Ray of our own.
        verbose: Show what Ray logs.

    Raises:
        WorkerError: The cluster does not let this process in, or Ray does not start.
    """
    level = logging.INFO if verbose else logging.ERROR
    quiet = {"logging_level": level, "log_to_driver": verbose}
    with ExitStack() as stack:
        if address := find_running_cluster():
            stack.enter_context(cluster_environment(address))
            stack.callback(shut_down)
            _init(
                "Ray does not let this process in ({}): "
                "give it the cluster's RAY_AUTH_TOKEN, and the same version of Ray.",
                address=address,
                **quiet,
            )
        else:
            stack.enter_context(own_environment())
            size = {"num_cpus": threads, "object_store_memory": OBJECT_STORE_BYTES}
            head = stack.enter_context(start_head(log_monitor=verbose, logging_level=level, **size))
            stack.callback(shut_down)
            _init(
                "Ray does not start here ({}); look at `fastdup-ray doctor`, or run without Ray (executor=local).",
                **head,
                **quiet,
            )
        yield


def shut_down() -> None:
    """Call `ray.shutdown` without garbage collection.

    If a reference to one of its objects is dropped meanwhile, Ray ends the process. The garbage collector may do so in
    any thread.
    """
    was_enabled = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        ray.shutdown()
    finally:
        if was_enabled:
            gc.enable()


def _init(failure: str, **options: Any) -> None:
    """Call `ray.init`; failure: message of the error, with {} for the reason."""
    _enable_faulthandler()
    on_term = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(**options)
    except Exception as error:  # Ray has no class of its own for it
        raise WorkerError(failure.format(get_last_line(error))) from error
    if on_term not in (signal.SIG_DFL, None) and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, on_term)  # Ray has installed its own


def _enable_faulthandler() -> None:
    """Enable faulthandler before Ray does, which fails if standard error is closed or has no descriptor."""
    if faulthandler.is_enabled():
        return
    try:
        faulthandler.enable(all_threads=False)
    except (AttributeError, RuntimeError, OSError):
        faulthandler.enable(open(os.devnull, "w", encoding="ascii"), all_threads=False)  # noqa: SIM115


def find_running_cluster() -> str | None:
    """Return the address of the cluster of RAY_ADDRESS or `ray start`; None if a Ray of our own has to be started.

    `ray.init(address="auto")` does not do: it also takes the private Ray of another run, and if the cluster is gone it
    waits for a minute and then ends the process.

    Raises:
        WorkerError: No Ray answers at RAY_ADDRESS.
    """
    named = os.environ.get("RAY_ADDRESS", "")
    if named == "local":
        return None
    if named and named != "auto":
        if "://" not in named and not _is_reachable(named):
            raise WorkerError(f"No Ray answers at RAY_ADDRESS={named}: start it, or unset RAY_ADDRESS.")
        return named
    address = _find_local_cluster()
    return address if address and _is_reachable(address) else None


def _find_local_cluster() -> str:
    """Return the address that `ray start` wrote on this machine; empty if there is none, or another user wrote it.

    Ray keeps it where everybody may write, and the owner of a cluster can run code as the user who joins it.
    """
    path = get_ray_address_file(None)
    try:
        with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), encoding="utf-8") as file:
            if os.fstat(file.fileno()).st_uid in (0, os.geteuid()):
                return file.read().strip()
    except (OSError, ValueError):
        return ""
    log.warning("The Ray that %s names is another user's; to use it, set RAY_ADDRESS.", path)
    return ""


def _is_reachable(address: str) -> bool:
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=5):
            return True
    except (OSError, ValueError):
        return False


def list_nodes() -> list[dict[str, Any]]:
    """Return Ray's descriptions of the nodes that are alive and have CPUs."""
    return [node for node in _list_alive() if node["Resources"].get("CPU")]


def _list_alive() -> list[dict[str, Any]]:
    return [node for node in _query_cluster(ray.nodes) if node["Alive"]]


def _query_cluster(query: Callable[[], Any]) -> Any:
    """Return the result of a query to the cluster; raise `RayEndedError` if Ray has ended.

    The query runs in a thread: without an answer Ray waits for a minute, and then ends the process.
    """
    answer: Future[Any] = Future()

    def run() -> None:
        try:
            answer.set_result(query())
        except BaseException as error:
            answer.set_exception(error)

    refuse_ended()
    threading.Thread(target=run, daemon=True).start()
    while not wait([answer], timeout=1.0).done:
        refuse_ended()
    return answer.result()


def list_present_nodes() -> list[Node]:
    """Return the resources of the nodes that are there now."""
    return [Node(*(int(node["Resources"].get(name, 0)) for name in ("CPU", "GPU", "memory"))) for node in list_nodes()]


def can_autoscale() -> bool:
    """Return whether an autoscaler adds nodes for waiting work. Ray does not say how many, or of which size."""
    return any(node["Labels"].get(_OF_AUTOSCALER) for node in _list_alive())


def check_resources(*, memory: bool) -> None:
    """Check that a node has CPUs, or that an autoscaler may add one.

    Args:
        memory: A node needs memory that Ray can assign, too.

    Raises:
        WorkerError: There is no such node.
    """
    present = list_present_nodes()
    if any(node.memory or not memory for node in present):
        return
    lacking, flag = ("memory", "--memory") if present else ("CPUs", "--num-cpus")
    if can_autoscale():
        log.warning("No node of this Ray has %s yet; waiting for its autoscaler to add one.", lacking)
        return
    raise WorkerError(
        f"No node of this Ray has {lacking} to assign: start it with some (ray start {flag}=…, or the same keyword of "
        "ray.init), add a node that has, or run without Ray (executor=local)."
    )


def refuse_unshared(store: Store) -> None:
    """Raise `WorkDirError` if a node of the cluster does not see what this process writes to the work_dir."""
    nodes = list_nodes()
    if len(nodes) < 2:
        return
    name = f".probe-{uuid.uuid4().hex}"
    with store.create(name) as path:
        path.touch()
    try:
        for node in nodes:
            options: dict[str, Any] = {
                "num_cpus": 0,
                "scheduling_strategy": NodeAffinitySchedulingStrategy(node["NodeID"], soft=False),
            }
            if not get_result(ray.remote(**options)(_exists).remote(store, name)):
                raise WorkDirError(
                    f"Node {node['NodeManagerAddress']} of the cluster does not share work_dir {store.location!r}; "
                    "name a folder that all nodes share."
                )
    finally:
        store.remove(name)


def _exists(store: Store, name: str) -> bool:
    return store.exists(name)
