"""Python's search for unreachable objects, which costs a tenth of the time of a large import."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def pause_collection() -> Iterator[None]:
    """Do not search for unreachable objects while the context lasts; later searches skip all that is there by then.

    For imports: what they make stays as long as the process.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if was_enabled:
            gc.enable()
