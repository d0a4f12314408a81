"""A histogram of the values of pairs, as bars of an SVG of any width."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from fastdup_ray.common.arrays import DoubleArray, IntArray

BINS = 60
MIN_HEIGHT = 10
"""Percent of the height that a bar has at least, so that a single pair is visible beside a million."""


@dataclass(frozen=True)
class Bar:
    """The pairs of one bin.

    Attributes:
        x: Left side, in percent of the width.
        height: In percent of the height.
        low: The value at the left side.
        high: The value at the right side.
        title: Both values and the number of pairs, as text.
    """

    x: float
    height: float
    low: float
    high: float
    title: str


@dataclass(frozen=True)
class Mark:
    """A vertical line at a value, such as a threshold.

    Attributes:
        x: In percent of the width.
        text: Name and value.
    """

    x: float
    text: str


@dataclass(frozen=True)
class Histogram:
    """The numbers of pairs by value.

    Attributes:
        bars: One for each bin that has pairs.
        marks: From left to right.
        low: The value at the left side.
        high: The value at the right side.
        most: Pairs in the highest bar.
        step: Width of a bin, in percent of the width.
    """

    bars: list[Bar]
    marks: list[Mark]
    low: float
    high: float
    most: int
    step: float = 100 / BINS


def make_histogram(values: DoubleArray, counts: IntArray, marks: Mapping[str, float]) -> Histogram:
    """Make a histogram.

    Args:
        values: (v,) the different values, v > 0.
        counts: (v,) how many pairs have each.
        marks: Name and value of each line to draw.
    """
    drawn = [float(values.min()), float(values.max()), *marks.values()]
    low, high = min(drawn), max(drawn)
    if low == high:
        low -= 0.01
    edges = np.linspace(low, high, BINS + 1)
    pairs, _ = np.histogram(values, edges, weights=counts)
    most = int(pairs.max())
    bars = [
        Bar(
            round(100 * bar / BINS, 3),
            round(max(100 * count / most, MIN_HEIGHT), 3),
            float(edges[bar]),
            float(edges[bar + 1]),
            f"{edges[bar]:.3f} to {edges[bar + 1]:.3f}: {count:,}",
        )
        for bar, count in enumerate(pairs.tolist())
        if count
    ]
    lines = [
        Mark(round(100 * (value - low) / (high - low), 3), f"{name} {value:g}")
        for name, value in sorted(marks.items(), key=lambda mark: mark[1])
    ]
    return Histogram(bars, lines, low, high, most)
