"""Download an object to a file in parts, several at once."""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

PART = 32 << 20
"""Bytes of a part."""

AT_ONCE = 4
"""Parts of one object that are downloaded at once."""


def save_parts(path: Path, size: int, read: Callable[[int, int], bytes]) -> None:
    """Write an object to a new file: its first part, then the others at once.

    Args:
        path: The file.
        size: Bytes of the object.
        read: Returns the part that begins at an offset and has a number of bytes; called in threads.
    """
    with open(path, "wb") as file:

        def copy(start: int) -> None:
            os.pwrite(file.fileno(), read(start, min(PART, size - start)), start)

        copy(0)
        if size > PART:
            with ThreadPoolExecutor(AT_ONCE) as pool:
                list(pool.map(copy, range(PART, size, PART)))
