"""Progress of the extraction: a bar on a terminal, a widget in a notebook, else a plain line every ten seconds."""

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from functools import partial

from tqdm.auto import tqdm

from fastdup_ray.common.events import log_event
from fastdup_ray.common.records import ShardReceipt
from fastdup_ray.system.process import is_terminal

SECONDS_BETWEEN_LINES = 10.0


def report_progress(receipts: Iterable[ShardReceipt], total: int, log_format: str) -> Iterator[ShardReceipt]:
    """Yield `receipts`, and report them as they come.

    Args:
        receipts: Of the shards, in any order.
        total: Number of entries to read.
        log_format: "json" for lines of JSON; else a bar or plain lines.
    """
    if log_format == "json":
        return _log_lines(receipts, total, partial(log_event, "progress"))
    if is_terminal(sys.stderr) or (sys.stderr is not None and _is_notebook()):
        return _show_bar(receipts, total)
    return _log_lines(receipts, total, _print_line)


def _is_notebook() -> bool:
    """Return whether this process is the kernel of a notebook; other processes may have imported IPython, too."""
    ipython = sys.modules.get("IPython")
    return ipython is not None and hasattr(ipython.get_ipython(), "kernel")


def _show_bar(receipts: Iterable[ShardReceipt], total: int) -> Iterator[ShardReceipt]:
    with tqdm(total=total, unit=" images", desc="features", dynamic_ncols=True) as bar:
        bad = 0
        for receipt in receipts:
            bad += receipt.bad
            bar.set_postfix(bad=bad, refresh=False)
            bar.update(receipt.good + receipt.bad)
            yield receipt


def _log_lines(receipts: Iterable[ShardReceipt], total: int, write: Callable[..., None]) -> Iterator[ShardReceipt]:
    start = last = time.monotonic()
    done = bad = 0
    for receipt in receipts:
        done += receipt.good + receipt.bad
        bad += receipt.bad
        now = time.monotonic()
        if now - last >= SECONDS_BETWEEN_LINES:
            last = now
            rate = done / (now - start)
            write(done=done, total=total, bad=bad, per_second=round(rate, 1), seconds_left=round((total - done) / rate))
        yield receipt


def _print_line(done: int, total: int, bad: int, per_second: float, seconds_left: int) -> None:
    left = tqdm.format_interval(seconds_left)
    line = f"features: {done:,} of {total:,} images, {bad:,} bad, {per_second:,.0f} images/s, {left} left"
    with suppress(OSError, ValueError):  # the stream was closed: no reason to end the run
        print(line, flush=True)
