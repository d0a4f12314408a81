"""Where the work goes: pure functions over what the nodes have."""

from collections.abc import Sequence
from dataclasses import dataclass

from fastdup_ray.config import RunConfig
from fastdup_ray.errors import ConfigError


@dataclass(frozen=True)
class Node:
    """cores, gpus, and memory in bytes, that Ray may give away on one node."""

    cores: int
    gpus: int = 0
    memory: int = 0


@dataclass(frozen=True)
class Placement:
    """actors: extractors at once. cores: of each, for as many decode threads; gpus: of each; both on one node."""

    actors: int
    cores: int
    gpus: int = 0


def place_extractors(config: RunConfig, nodes: Sequence[Node]) -> Placement:
    """One for each core, or GPU, of nodes that are there or may come; or as many as asked, with the cores shared.

    Raises `ConfigError` where GPUs are asked for, and none can be had.
    """
    if config.compute == "gpu":
        return _place_on_gpus(config, nodes)
    own = config.num_threads if config.num_threads > 0 else None
    cores = [min(node.cores, own or node.cores) for node in nodes]
    actors = config.num_actors or max(1, sum(cores))
    each = next(threads for threads in range(max(cores, default=1) or 1, 0, -1) if _fits(cores, threads, actors))
    return Placement(actors, each)


def _fits(cores: Sequence[int], each: int, actors: int) -> bool:
    """One core each is asked for even where there are too few: the others wait."""
    return each == 1 or sum(node // each for node in cores) >= actors


def _place_on_gpus(config: RunConfig, nodes: Sequence[Node]) -> Placement:
    with_gpu = [node for node in nodes if node.gpus]
    if not with_gpu:
        raise ConfigError("compute='gpu' is not possible: this Ray has no GPU; start it where one is.")
    actors = config.num_actors or sum(node.gpus for node in with_gpu)
    each = min(node.cores // node.gpus for node in with_gpu)
    if config.num_threads > 0:
        each = min(each, -(-config.num_threads // max(node.gpus for node in with_gpu)))
    return Placement(actors, max(1, each), 1)


@dataclass(frozen=True)
class Share:
    """at_once: tasks that can be at work together. cores: of each."""

    at_once: int
    cores: int


def place_tasks(count: int, memory: int, nodes: Sequence[Node]) -> Share:
    """For so many tasks of `memory` bytes each: as many at once as fit, with the cores that are left among them.

    Raises `ConfigError` where none fits.
    """
    fit = [node for node in nodes if node.memory >= memory]
    if not fit:
        most = max((node.memory for node in nodes), default=0)
        raise ConfigError(
            f"A worker of this search takes {memory >> 20:,} MiB, and no node has more than {most >> 20:,} to give: "
            "set partition_memory to less than that."
        )
    room = sum(max(1, min(node.cores, node.memory // memory)) for node in fit)
    at_once = min(count, room) or 1
    cores = sum(node.cores for node in fit) // at_once
    return Share(at_once, max(1, min(cores, min(node.cores for node in fit))))


def place_index(need: int, nodes: Sequence[Node], *, gpu: bool) -> tuple[int, int]:
    """(bytes, GPUs) to ask for: on a node with a GPU if that has the room, else where there is room; never more than
    the largest node has, where the index is then chosen by what is free."""
    if gpu and any(node.gpus and node.memory >= need for node in nodes):
        return need, 1
    return min(need, max((node.memory for node in nodes), default=need)), 0
