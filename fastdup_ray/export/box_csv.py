"""CSV: one line for each image or box that is kept, as a run reads them with `annotations`."""

import csv
import io
import os
from typing import BinaryIO

from fastdup_ray.common.formulas import escape_formula
from fastdup_ray.common.names import to_utf8
from fastdup_ray.export.export_source import ExportSource
from fastdup_ray.inputs import find_part

HEADER = ("filename", "x", "y", "width", "height", "label")


def write_box_csv(file: BinaryIO, source: ExportSource) -> int:
    """Write the images that are kept; x, y, width and height are those of a box, and empty for whole images.

    Returns:
        The number of lines.
    """
    labels = source.run.images["label"].to_pylist() if "label" in source.run.images.column_names else None
    text = io.TextIOWrapper(file, "utf-8", "surrogateescape", newline="", write_through=True)
    rows, count = csv.writer(text, lineterminator="\n"), 0
    rows.writerow(HEADER)
    for index, raw in source.iter_kept():
        part = find_part(os.fsdecode(raw), source.run.access)
        box = ["", "", "", ""] if part.box is None else [part.box.cols, part.box.rows, part.box.width, part.box.height]
        label = (labels and labels[index]) or ""
        rows.writerow([to_utf8(part.file if part.box else os.fsdecode(raw)), *box, escape_formula(label)])
        count += 1
    text.detach()
    return count
