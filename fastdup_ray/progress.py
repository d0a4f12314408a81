"""Images per second and time left: a bar on a terminal, a widget in a notebook, else a plain line every ten seconds."""

import sys
import time
from collections.abc import Iterable, Iterator

from tqdm.auto import tqdm

from fastdup_ray.records import ShardReceipt

SECONDS_BETWEEN_LINES = 10.0


def with_progress(receipts: Iterable[ShardReceipt], total: int) -> Iterator[ShardReceipt]:
    """The same receipts, told as they come."""
    told = _bar if sys.stderr.isatty() or "ipykernel" in sys.modules else _lines
    return told(receipts, total)


def _bar(receipts: Iterable[ShardReceipt], total: int) -> Iterator[ShardReceipt]:
    with tqdm(total=total, unit=" images", desc="features", dynamic_ncols=True) as bar:
        bad = 0
        for receipt in receipts:
            bad += receipt.bad
            bar.set_postfix(bad=bad, refresh=False)
            bar.update(receipt.good + receipt.bad)
            yield receipt


def _lines(receipts: Iterable[ShardReceipt], total: int) -> Iterator[ShardReceipt]:
    start = told = time.monotonic()
    done = bad = 0
    for receipt in receipts:
        done += receipt.good + receipt.bad
        bad += receipt.bad
        now = time.monotonic()
        if now - told >= SECONDS_BETWEEN_LINES:
            told = now
            rate = done / (now - start)
            left = tqdm.format_interval((total - done) / rate)
            print(f"features: {done:,} of {total:,} images, {bad:,} bad, {rate:,.0f} images/s, {left} left", flush=True)
        yield receipt
