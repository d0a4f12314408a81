"""Progress of a stage: a bar or a line on a terminal, a widget in a notebook, else a plain line every ten seconds."""

import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from fastdup_ray.common.events import log_event, print_lines
from fastdup_ray.common.formatting import format_seconds
from fastdup_ray.common.records import ShardReceipt
from fastdup_ray.config import RunConfig
from fastdup_ray.system.process import is_terminal

if TYPE_CHECKING:
    from tqdm import tqdm

SECONDS_BETWEEN_LINES = 10.0

REFRESH_SECONDS = 0.4
"""Seconds between two updates of what is shown, so that its clock is seen to run. A stage that ends sooner shows no
line."""

Item = TypeVar("Item")
Measure = Callable[[Item], tuple[int, int]]
"""Returns how many units an item has, and how many of them are bad."""


def report_extraction(receipts: Iterable[ShardReceipt], total: int, log_format: str) -> Iterator[ShardReceipt]:
    """Yield `receipts`, and report them as they come.

    Args:
        receipts: Of the shards, in any order.
        total: Number of entries to read.
        log_format: "json" for lines of JSON, "quiet" for nothing; else a bar or plain lines.
    """
    return _report(receipts, _Work("features", "Reading images", "images", total), _count_images, log_format)


def report_verification(counts: Iterable[int], total: int, log_format: str) -> Iterator[int]:
    """Yield numbers of compared pairs, and report them as they come.

    Args:
        counts: Of the pieces, in any order.
        total: Number of pairs to compare.
        log_format: See `report_extraction`.
    """
    return _report(counts, _Work("verify", "Comparing pairs", "pairs", total), _count_pairs, log_format)


@dataclass(frozen=True)
class _Work:
    stage: str
    title: str
    unit: str
    total: int


def _count_images(receipt: ShardReceipt) -> tuple[int, int]:
    return receipt.good + receipt.bad, receipt.bad


def _count_pairs(count: int) -> tuple[int, int]:
    return count, 0


@contextmanager
def show_stage(text: str, config: RunConfig) -> Iterator[None]:
    """Show what a run is doing, and for how long, while the context lasts: on a terminal and in a notebook.

    Elsewhere nothing is shown, and neither with `verbose` or JSON, which tell when each stage has ended, or "quiet".

    Args:
        text: What the run is doing, such as "Listing the input".
        config: Of the run.
    """
    if config.log_format != "text" or config.verbose or not _is_watched():
        yield
        return
    line = _make_bar(desc=text, bar_format="{desc} … {elapsed}", leave=False, delay=REFRESH_SECONDS, mininterval=0)
    with line, _ticking(lambda: line.update(0)):  # a line that was only refreshed would not be cleared
        yield


def show_duration(seconds: float, config: RunConfig) -> None:
    """Show how long a run took, where `show_stage` shows what it does."""
    if config.log_format == "text" and _is_watched():
        print_lines(f"Done in {format_seconds(seconds)}.", sys.stderr)


@contextmanager
def _ticking(show: Callable[[], object]) -> Iterator[None]:
    """Call `show` every now and then while the context lasts."""
    ended = threading.Event()

    def tick() -> None:
        with suppress(OSError, ValueError):  # the stream was closed
            while not ended.wait(REFRESH_SECONDS):
                show()

    thread = threading.Thread(target=tick, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _report(items: Iterable[Item], work: _Work, measure: Measure[Item], log_format: str) -> Iterator[Item]:
    if log_format == "quiet":
        return iter(items)
    if log_format == "json":
        return _log_lines(items, work, measure, partial(log_event, "progress"))
    if _is_watched():
        return _show_bar(items, work, measure)
    return _log_lines(items, work, measure, partial(_print_line, unit=work.unit))


def _is_watched() -> bool:
    """Return whether somebody sees a line that changes."""
    return is_terminal(sys.stderr) or (sys.stderr is not None and _is_notebook())


def _is_notebook() -> bool:
    """Return whether this process is the kernel of a notebook; other processes may have imported IPython, too."""
    ipython = sys.modules.get("IPython")
    return ipython is not None and hasattr(ipython.get_ipython(), "kernel")


def _make_bar(**options: Any) -> "tqdm[Any]":
    if _is_notebook():
        from tqdm.auto import tqdm as bar  # a widget; late, as it takes longer to import than anything else here
    else:
        from tqdm import tqdm as bar
    return bar(**options)


def _show_bar(items: Iterable[Item], work: _Work, measure: Measure[Item]) -> Iterator[Item]:
    bar = _make_bar(total=work.total, unit=f" {work.unit}", desc=work.title, dynamic_ncols=True)
    with bar, _ticking(bar.refresh):
        all_bad = 0
        for item in items:
            count, bad = measure(item)
            all_bad += bad
            if all_bad:
                bar.set_postfix(bad=all_bad, refresh=False)
            bar.update(count)
            yield item


def _log_lines(
    items: Iterable[Item], work: _Work, measure: Measure[Item], write: Callable[..., None]
) -> Iterator[Item]:
    start = last = time.monotonic()
    done = all_bad = 0
    for item in items:
        count, bad = measure(item)
        done, all_bad = done + count, all_bad + bad
        now = time.monotonic()
        if now - last >= SECONDS_BETWEEN_LINES:
            last = now
            rate = done / (now - start)
            left = round((work.total - done) / rate)
            write(
                stage=work.stage,
                done=done,
                total=work.total,
                bad=all_bad,
                per_second=round(rate, 1),
                seconds_left=left,
            )
        yield item


def _print_line(
    *, stage: str, done: int, total: int, bad: int, per_second: float, seconds_left: int, unit: str
) -> None:
    some_bad = f" {bad:,} bad," if bad else ""
    from tqdm import tqdm

    left = tqdm.format_interval(seconds_left)
    line = f"{stage}: {done:,} of {total:,} {unit},{some_bad} {per_second:,.0f} {unit}/s, {left} left"
    with suppress(OSError, ValueError):  # the stream was closed: no reason to end the run
        print(line, flush=True)
