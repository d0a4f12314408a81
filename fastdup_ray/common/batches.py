"""Items in batches that grow."""

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TypeVar

SMALLEST_BATCH, LARGEST_BATCH = 1 << 3, 1 << 13
"""Items of the first batches, and at most."""

_Item = TypeVar("_Item")


def make_batches(items: Iterable[_Item]) -> Iterator[list[_Item]]:
    """Yield items in batches: few at first, so that what needs only a few items does not wait for many."""
    size, items = SMALLEST_BATCH, iter(items)
    while batch := list(islice(items, size)):
        yield batch
        size = min(2 * size, LARGEST_BATCH)
