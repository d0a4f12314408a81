"""The progress of a command over files, on a terminal."""

import sys
from collections.abc import Iterable, Sequence
from typing import TypeVar

from fastdup_ray.system.process import is_terminal

Item = TypeVar("Item")


def show_progress(items: Sequence[Item], title: str) -> Iterable[Item]:
    """Yield items, and show a bar meanwhile if somebody sees it.

    Args:
        items: What is worked on, one file each.
        title: What is done, such as "Moving".
    """
    if not items or not is_terminal(sys.stderr):
        return items
    from tqdm.auto import tqdm  # imports what only a terminal needs

    bar: Iterable[Item] = tqdm(items, desc=title, unit=" files", leave=False, dynamic_ncols=True)
    return bar
