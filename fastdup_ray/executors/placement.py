"""Where the work goes: pure functions over what the nodes have."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from fastdup_ray.config import RunConfig
from fastdup_ray.errors import ConfigError


@dataclass(frozen=True)
class Node:
    """cores, gpus, and memory in bytes, that Ray may give away on one node."""

    cores: int
    gpus: int = 0
    memory: int = 0


LEAST_WAITING = 64
"""Cores that an autoscaler hears of at once, as soon as it is known what its nodes have; then as many as there are."""


@dataclass(frozen=True)
class Placement:
    """actors: extractors at once. cores: of each, for as many decode threads; gpus: of each; both on one node.
    waiting: so many more may wait for nodes to come.
    """

    actors: int
    cores: int
    gpus: int = 0
    waiting: int = 0


def place_extractors(config: RunConfig, nodes: Sequence[Node], *, grows: bool = False) -> Placement:
    """One for each core, or GPU, of the nodes that are there; or as many as asked, with the cores shared.

    grows: an autoscaler adds nodes for those that wait. Where none is there that would do, one extractor waits for the
    first, alone: what it has is not known yet.
    Raises `ConfigError` where GPUs are asked for, and none can be had.
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
    return ConfigError(f"compute='gpu' is not possible: {why}.")


def _place_on_cores(config: RunConfig, nodes: Sequence[Node]) -> Placement:
    own = config.num_threads if config.num_threads > 0 else None
    cores = [min(node.cores, own or node.cores) for node in nodes]
    actors = config.num_actors or max(1, sum(cores))
    each = next(threads for threads in range(max(cores, default=1) or 1, 0, -1) if _fit_actors(cores, threads, actors))
    return Placement(actors, each)


def _fit_actors(cores: Sequence[int], each: int, actors: int) -> bool:
    """One core each is asked for even where there are too few: the others wait."""
    return each == 1 or sum(node // each for node in cores) >= actors


def _place_on_gpus(config: RunConfig, nodes: Sequence[Node]) -> Placement:
    actors = config.num_actors or sum(node.gpus for node in nodes)
    each = min(node.cores // node.gpus for node in nodes)
    if config.num_threads > 0:
        each = min(each, -(-config.num_threads // max(node.gpus for node in nodes)))
    return Placement(actors, max(1, each), 1)


@dataclass(frozen=True)
class TaskSlots:
    """at_once: tasks that can be at work together. cores: of each."""

    at_once: int
    cores: int


def place_tasks(count: int, memory: int, nodes: Sequence[Node], *, grows: bool = False) -> TaskSlots:
    """For so many tasks of `memory` bytes each: as many at once as fit, with the cores that are left among them.

    grows: an autoscaler adds nodes for those that wait: as many again do, or one where none fits yet.
    Raises `ConfigError` where none fits.
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
    """(bytes, GPUs) to ask for, the best first: on a node with a GPU if one has the room, else where there is room,
    and at last no more than the largest node has, where the index is then chosen by what is free.

    grows: a node that is larger may come.
    """
    largest = max((node.memory for node in nodes), default=0)
    asked = [(need, 1)] if gpu and any(node.gpus and node.memory >= need for node in nodes) else []
    if need > largest and (grows or not nodes):
        asked.append((need, 0))
    return [*asked, (min(need, largest), 0)]
