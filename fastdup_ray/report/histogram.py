"""How many pairs have which value, as rectangles of an SVG."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

WIDTH, HEIGHT, BINS = 480, 110, 40


@dataclass(frozen=True)
class Bar:
    x: float
    y: float
    width: float
    height: float
    title: str


@dataclass(frozen=True)
class Mark:
    x: float
    text: str


@dataclass(frozen=True)
class Histogram:
    """Bars and marks in a box of width by height units; low, high: the values at its sides; most: pairs in a bar."""

    bars: list[Bar]
    marks: list[Mark]
    low: float
    high: float
    most: int
    width: int = WIDTH
    height: int = HEIGHT


def make_histogram(values: np.ndarray, marks: Mapping[str, float]) -> Histogram:
    """values: (m,), m > 0. marks: name -> value of lines to draw."""
    everything = [float(values.min()), float(values.max()), *marks.values()]
    low, high = min(everything), max(everything)
    if low == high:
        low -= 0.01
    edges = np.linspace(low, high, BINS + 1)
    counts, _ = np.histogram(values, edges)
    step, most = WIDTH / BINS, int(counts.max())
    bars = []
    for bar, count in enumerate(counts.tolist()):
        height = max(HEIGHT * count / most, 1) if count else 0  # a single pair can be seen beside a million
        title = f"{edges[bar]:.3f} to {edges[bar + 1]:.3f}: {count:,}"
        if count:
            bars.append(
                Bar(round(bar * step, 2), round(HEIGHT - height, 2), round(step - 1, 2), round(height, 2), title)
            )
    places = [
        Mark(round(WIDTH * (value - low) / (high - low), 2), f"{name} {value:g}")
        for name, value in sorted(marks.items(), key=lambda mark: mark[1])
    ]
    return Histogram(bars, places, low, high, most)
