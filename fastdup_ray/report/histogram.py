"""How many pairs have which value, as the bars of an SVG of any width."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

BINS = 60
LEAST = 1.5
"""Percent of the height that a bar has at least: a single pair can be seen beside a million."""


@dataclass(frozen=True)
class Bar:
    """x, height: in percent of the width and the height. low, high: the values at its sides."""

    x: float
    height: float
    low: float
    high: float
    title: str


@dataclass(frozen=True)
class Mark:
    x: float
    text: str


@dataclass(frozen=True)
class Histogram:
    """low, high: the values at its sides; most: pairs in a bar; step: the width of a bar in percent."""

    bars: list[Bar]
    marks: list[Mark]
    low: float
    high: float
    most: int
    step: float = 100 / BINS


def make_histogram(values: np.ndarray, counts: np.ndarray, marks: Mapping[str, float]) -> Histogram:
    """values, counts: (v,), v > 0, how many pairs have each value. marks: name -> value of lines to draw."""
    everything = [float(values.min()), float(values.max()), *marks.values()]
    low, high = min(everything), max(everything)
    if low == high:
        low -= 0.01
    edges = np.linspace(low, high, BINS + 1)
    pairs, _ = np.histogram(values, edges, weights=counts)
    most = int(pairs.max())
    bars = [
        Bar(
            round(100 * bar / BINS, 3),
            round(max(100 * count / most, LEAST), 3),
            float(edges[bar]),
            float(edges[bar + 1]),
            f"{edges[bar]:.3f} to {edges[bar + 1]:.3f}: {count:,}",
        )
        for bar, count in enumerate(pairs.tolist())
        if count
    ]
    places = [
        Mark(round(100 * (value - low) / (high - low), 3), f"{name} {value:g}")
        for name, value in sorted(marks.items(), key=lambda mark: mark[1])
    ]
    return Histogram(bars, places, low, high, most)
