"""Precision and recall as an SVG: one over the other, and both over the threshold."""

from xml.etree import ElementTree

import numpy as np

from fastdup_ray.common.arrays import DoubleArray
from fastdup_ray.evaluation.curve import Curve
from fastdup_ray.evaluation.pairs import STEPS, find_bin

SIDE, MARGIN = 320, 48
"""Of a square, in units of the drawing."""

POINTS = 400
"""Points of a line."""

LOWEST_THRESHOLD = 0.5
COLORS = {"precision": "#1f5fa8", "recall": "#c2571a"}


def draw_svg(curve: Curve, title: str) -> str:
    """Return the drawing as the text of an SVG file."""
    drawing = ElementTree.Element(
        "svg",
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {2 * (SIDE + 2 * MARGIN)} {SIDE + 2 * MARGIN}",
        attrib={"font-family": "sans-serif", "font-size": "12"},
    )
    ElementTree.SubElement(drawing, "title").text = title
    panel = _draw_panel(drawing, 0, title, "recall", (0, 1))
    shown = np.flatnonzero(curve.hits > 0)
    if len(shown):
        by_recall = shown[np.searchsorted(-curve.recall[shown], -np.linspace(1, 0, POINTS)).clip(max=len(shown) - 1)]
        _draw_line(panel, curve.recall[by_recall], curve.precision[by_recall], "precision")
    panel = _draw_panel(drawing, 1, "precision (blue) and recall", "threshold", (LOWEST_THRESHOLD, 1))
    bins = np.linspace(find_bin(LOWEST_THRESHOLD), 2 * STEPS, POINTS).astype(int)
    across = np.linspace(0, 1, POINTS)
    _draw_line(panel, across, curve.precision[bins], "precision")
    _draw_line(panel, across, curve.recall[bins], "recall")
    return ElementTree.tostring(drawing, "unicode") + "\n"


def _draw_panel(
    drawing: ElementTree.Element, number: int, title: str, axis: str, ends: tuple[float, float]
) -> ElementTree.Element:
    """Draw a square with a title, a grid and labeled axes; return its element."""
    left = MARGIN + number * (SIDE + 2 * MARGIN)
    panel = ElementTree.SubElement(drawing, "g", transform=f"translate({left} {MARGIN})")
    _draw_text(panel, SIDE / 2, -16, title, "middle")
    _draw_text(panel, SIDE / 2, SIDE + 34, axis, "middle")
    for tenth in range(0, 11, 2):
        at = SIDE * tenth / 10
        for path in (f"M0 {SIDE - at}H{SIDE}", f"M{at} 0V{SIDE}"):
            ElementTree.SubElement(panel, "path", d=path, stroke="#ddd")
        _draw_text(panel, at, SIDE + 16, f"{ends[0] + (ends[1] - ends[0]) * tenth / 10:g}", "middle")
        _draw_text(panel, -6, SIDE - at + 4, f"{tenth / 10:g}", "end")
    return panel


def _draw_text(parent: ElementTree.Element, x: float, y: float, text: str, anchor: str) -> None:
    ElementTree.SubElement(parent, "text", {"x": f"{x:g}", "y": f"{y:g}", "text-anchor": anchor}).text = text


def _draw_line(panel: ElementTree.Element, x: DoubleArray, y: DoubleArray, name: str) -> None:
    points = " ".join(f"{SIDE * a:.1f},{SIDE * (1 - b):.1f}" for a, b in zip(x, y, strict=True))
    line = ElementTree.SubElement(
        panel, "polyline", {"points": points, "fill": "none", "stroke": COLORS[name], "stroke-width": "2"}
    )
    ElementTree.SubElement(line, "title").text = name
