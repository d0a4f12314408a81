"""How many workers run, and what each gets, as pure functions of what the nodes have."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from fastdup_ray.config import RunConfig
from fastdup_ray.errors import ConfigError


@dataclass(frozen=True)
class Node:
    """What Ray can assign on one node.

    Attributes:
        cores: CPUs.
        gpus: GPUs.
        memory: Bytes.
    """

    cores: int
    gpus: int = 0
    memory: int = 0


LEAST_WAITING = 64
"""Fewest cores that are requested from an autoscaler at once, when the size of its nodes is known."""


@dataclass(frozen=True)
class Placement:
    """How many extractors run, and what each gets.

    Attributes:
        actors: Extractors at the same time.
        cores: Of each, on one node; it decodes with as many threads.
        gpus: Of each.
        waiting: Extractors beyond these that may wait for an autoscaler to add nodes.
    """

    actors: int
    cores: int
    gpus: int = 0
    waiting: int = 0


def place_extractors(config: RunConfig, nodes: Sequence[Node], *, grows: bool = False) -> Placement:
    """Place one extractor on each core, or GPU; or `config.num_actors`, which share the cores.

    Args:
        config: Has `compute`, `num_actors` and `num_threads`.
        nodes: The nodes that are there.
        grows: An autoscaler adds nodes. As long as there is none that will do, a single extractor waits for the first,
            since its size is unknown.

    Raises:
        ConfigError: `compute` is `gpu`, and there is none.
    """
    if config.compute == "gpu":
        nodes = [node for node in nodes if node.gpus]
        if not nodes and not grows:
            raise make_no_gpu_error("this Ray has no GPU; start it where one is")
    if grows and not nodes:
        return Placement(1, 1, gpus=int(config.compute == "gpu"))
    placement = _place_on_gpus(config, nodes) if config.compute == "gpu" else _place_on_cores(config, nodes)
    if grows and not config.num_actors:
        least = 0 if placement.gpus else LEAST_WAITING
        return replace(placement, waiting=max(placement.actors, least))
    return placement


def make_no_gpu_error(why: str) -> ConfigError:
    """Return the error for `compute='gpu'` without a GPU."""
    return ConfigError(f"Invalid value for compute: 'gpu' ({why}).")


def _place_on_cores(config: RunConfig, nodes: Sequence[Node]) -> Placement:
    own = config.num_threads if config.num_threads > 0 else None
    cores = [min(node.cores, own or node.cores) for node in nodes]
    actors = config.num_actors or max(1, sum(cores))
    each = next(threads for threads in range(max(cores, default=1) or 1, 0, -1) if _fit_actors(cores, threads, actors))
    return Placement(actors, each)


def _fit_actors(cores: Sequence[int], each: int, actors: int) -> bool:
    """Return whether so many actors with `each` cores fit; those with one core always do, since the others wait."""
    return each == 1 or sum(node // each for node in cores) >= actors


def _place_on_gpus(config: RunConfig, nodes: Sequence[Node]) -> Placement:
    actors = config.num_actors or sum(node.gpus for node in nodes)
    each = min(node.cores // node.gpus for node in nodes)
    if config.num_threads > 0:
        each = min(each, -(-config.num_threads // max(node.gpus for node in nodes)))
    return Placement(actors, max(1, each), 1)


@dataclass(frozen=True)
class TaskSlots:
    """Room for tasks.

    Attributes:
        at_once: Tasks that can run at the same time.
        cores: Of each.
    """

    at_once: int
    cores: int


def place_tasks(count: int, memory: int, nodes: Sequence[Node], *, grows: bool = False) -> TaskSlots:
    """Place tasks: as many at once as fit, which share the cores.

    Args:
        count: Number of tasks.
        memory: Bytes of each.
        nodes: The nodes that are there.
        grows: An autoscaler adds nodes. As many tasks again wait for these, or a single one if none fits yet.

    Raises:
        ConfigError: No node has that much memory.
    """
    fit = [node for node in nodes if node.memory >= memory]
    if not fit and grows:
        return TaskSlots(1, 1)
    if not fit:
        most = max((node.memory for node in nodes), default=0)
        raise ConfigError(
            f"A worker of this search takes {memory >> 20:,} MiB, and no node has more than {most >> 20:,} to give: "
            "set partition_memory to less than that."
        )
    room = sum(max(1, min(node.cores, node.memory // memory)) for node in fit)
    at_once = min(count, room) or 1
    cores = sum(node.cores for node in fit) // at_once
    return TaskSlots(min(count, 2 * at_once) if grows else at_once, max(1, min(cores, min(node.cores for node in fit))))


def place_index(need: int, nodes: Sequence[Node], *, gpu: bool, grows: bool = False) -> list[tuple[int, int]]:
    """Return the resources to request for the index actor, as (bytes, GPUs), the best first.

    First a node with a GPU and enough memory, then one with enough memory, then the largest: there the index is chosen
    by the memory that is free.

    Args:
        need: Bytes for the index.
        nodes: The nodes that are there.
        gpu: A GPU can be used.
        grows: An autoscaler may add a larger node.
    """
    largest = max((node.memory for node in nodes), default=0)
    requests = [(need, 1)] if gpu and any(node.gpus and node.memory >= need for node in nodes) else []
    if need > largest and (grows or not nodes):
        requests.append((need, 0))
    return [*requests, (min(need, largest), 0)]


def can_share(memory: int, reserved: int, nodes: Sequence[Node]) -> bool:
    """Return whether a task gets its memory wherever an actor that reserves some may be.

    Args:
        memory: Bytes of the task.
        reserved: Bytes of the actor.
        nodes: The nodes that are there.
    """
    fit = [node for node in nodes if node.memory >= memory]
    return not reserved or len(fit) > 1 or any(node.memory >= memory + reserved for node in fit)
