"""How many entries the shards of an extraction have. A shard counts as progress once it is whole."""

import time
from collections.abc import Iterable, Iterator

from fastdup_ray.common.records import ShardReceipt
from fastdup_ray.extract.model import BATCH

SHARD_SECONDS = 4.0
"""Seconds that a shard should take at most, so that a bar moves; to write one takes some milliseconds."""


class ShardSizes:
    """Sizes of shards: small ones first, so that progress shows within seconds, then as many entries as speed allows.

    Every actor gets a shard of each size, and the next size is twice as large.
    """

    def __init__(self, most: int, actors: int, threads: int) -> None:
        """Begin with a batch for each thread.

        Args:
            most: Entries of the largest shard.
            actors: Extractors that work at the same time.
            threads: Of each extractor.
        """
        self._most, self._actors, self._least = most, actors, BATCH * threads
        self._read, self._began = 0, 0.0

    def __iter__(self) -> Iterator[int]:
        """Yield the sizes of further shards, without end."""
        ramp = self._least
        while True:
            for _ in range(self._actors):
                yield min(ramp, self._limit())
            ramp = min(2 * ramp, self._most)

    def count(self, receipts: Iterable[ShardReceipt]) -> Iterator[ShardReceipt]:
        """Yield `receipts`, and learn from them how fast entries are read."""
        for receipt in receipts:
            if self._began:  # the first one took as long as the actors did to start
                self._read += receipt.good + receipt.bad
            self._began = self._began or time.monotonic()
            yield receipt

    def _limit(self) -> int:
        """Return the entries of the largest shard at the present speed, a multiple of the smallest one."""
        if not self._read:
            return self._most
        per_actor = self._read / (time.monotonic() - self._began) / self._actors
        return min(self._most, max(1, int(per_actor * SHARD_SECONDS / self._least)) * self._least)
