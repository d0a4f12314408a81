"""Attempts at shards: which image is at fault if the processes that read a shard die."""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

from fastdup_ray.common.records import Shard
from fastdup_ray.errors import BadImageError, ErrorCode
from fastdup_ray.inputs import find_box

MAX_ATTEMPTS = 2
"""Extract actors that may die over one shard before it is split, or over one image before that is marked bad."""

SUSPECT_PARTS = 16
"""Parts into which a shard is split if its actors die: an image among 1,024 is alone after three splits."""

MAX_STARTS = 3
"""Actors in a row that may die before one is ready."""


@dataclass(eq=False)
class Attempt:
    """A shard to read.

    Attributes:
        shard: The shard.
        failures: Actors that died over it.
    """

    shard: Shard
    failures: int = 0


def count_death(queue: deque[Attempt], attempt: Attempt) -> bool:
    """Count the death of an actor over a shard that is in the queue again; split the shard if it was one too many.

    Returns:
        Whether the shard is a single image, or boxes of a single photo, which is at fault. It is not in the queue any
        more.
    """
    attempt.failures += 1
    if attempt.failures < MAX_ATTEMPTS:
        return False
    queue.remove(attempt)
    if _count_files(attempt.shard) == 1:
        return True
    queue.extendleft(_split_suspects(attempt.shard))
    return False


def _split_suspects(shard: Shard) -> Iterator[Attempt]:
    """Yield the parts of a shard that killed its actors. One more death splits a part; a lone image gets all tries."""
    for part in shard.split(SUSPECT_PARTS):
        yield Attempt(part, failures=0 if _count_files(part) == 1 else MAX_ATTEMPTS - 1)


def _count_files(shard: Shard) -> int:
    """Return how many entries a shard has, of which boxes of one photo are one."""
    return len({part.file if (part := find_box(ref.uri)) else ref.uri for ref in shard.refs})


def explain_deaths(*, out_of_memory: bool) -> BadImageError:
    """Return the reason why an image over which actors died is bad."""
    if out_of_memory:
        return BadImageError(ErrorCode.OUT_OF_MEMORY, f"decoding ran out of memory {MAX_ATTEMPTS} times")
    return BadImageError(ErrorCode.CRASHED, f"decoding crashed or hung the worker process {MAX_ATTEMPTS} times")
