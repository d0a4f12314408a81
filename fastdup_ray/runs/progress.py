"""Images per second and time left: a bar on a terminal, a widget in a notebook, else a plain line every ten seconds."""

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
    """The same receipts, told as they come."""
    if log_format == "json":
        return _log_lines(receipts, total, partial(log_event, "progress"))
    if is_terminal(sys.stderr) or (sys.stderr is not None and _is_notebook()):
        return _show_bar(receipts, total)
    return _log_lines(receipts, total, _print_line)


def _is_notebook() -> bool:
    """Whether this process is the kernel of a notebook; others may import the same modules."""
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


def _log_lines(receipts: Iterable[ShardReceipt], total: int, say: Callable[..., None]) -> Iterator[ShardReceipt]:
    start = told = time.monotonic()
    done = bad = 0
    for receipt in receipts:
        done += receipt.good + receipt.bad
        bad += receipt.bad
        now = time.monotonic()
        if now - told >= SECONDS_BETWEEN_LINES:
            told = now
            rate = done / (now - start)
            say(done=done, total=total, bad=bad, per_second=round(rate, 1), seconds_left=round((total - done) / rate))
        yield receipt


def _print_line(done: int, total: int, bad: int, per_second: float, seconds_left: int) -> None:
    left = tqdm.format_interval(seconds_left)
    line = f"features: {done:,} of {total:,} images, {bad:,} bad, {per_second:,.0f} images/s, {left} left"
    with suppress(OSError, ValueError):  # a reader that is gone, or a closed stream, ends no run
        print(line, flush=True)
