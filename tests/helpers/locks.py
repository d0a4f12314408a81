"""Many threads that want one lock."""

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager

from fastdup_ray.errors import LockedError

WANTING = 8


def count_holders(lock: Callable[[], AbstractContextManager[None]]) -> int:
    """Return how many of `WANTING` threads get a lock at once. Who has it keeps it until all others were refused.

    Args:
        lock: Makes a new lock of the same name.
    """
    inside: list[int] = []
    refused: list[int] = []
    start, done = threading.Barrier(WANTING), threading.Event()

    def want() -> None:
        start.wait()
        try:
            with lock():
                inside.append(threading.get_ident())
                done.wait(30)
        except LockedError:
            refused.append(threading.get_ident())
            if len(refused) == WANTING - 1:
                done.set()

    threads = [threading.Thread(target=want) for _ in range(WANTING)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(inside) + len(refused) == WANTING
    return len(inside)
