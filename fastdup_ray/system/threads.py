"""Threads of our own, instead of those that libraries start for a single product of matrices."""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from typing import Any, TypeVar

from threadpoolctl import threadpool_limits

Item = TypeVar("Item")
Result = TypeVar("Result")


def single_threaded_libraries() -> AbstractContextManager[Any]:
    """Have BLAS multiply in the thread that calls it, and OpenMP of this thread start no others.

    Threads of BLAS wait for work in a busy loop, and the last bits of a sum depend on how many of them share it.
    """
    limit: AbstractContextManager[Any] = threadpool_limits(1)
    return limit


def map_threads(threads: int, work: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
    """Return `work(item)` for each item, in their order, from so many threads, with `single_threaded_libraries`."""
    with single_threaded_libraries(), ThreadPoolExecutor(threads) as pool:
        return list(pool.map(work, items))
