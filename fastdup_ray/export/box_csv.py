"""CSV: one line for each image or box that is kept, as a run reads them with `annotations`."""

import csv
import io
import os
from collections.abc import Iterator
from itertools import groupby
from typing import BinaryIO, NamedTuple

from fastdup_ray.common.formulas import escape_formula
from fastdup_ray.common.names import to_utf8
from fastdup_ray.common.records import Box, RelativeBox
from fastdup_ray.export.export_source import ExportSource
from fastdup_ray.export.photo_sizes import measure
from fastdup_ray.inputs import find_part
from fastdup_ray.inputs.sources import Part

HEADER = ("filename", "x", "y", "width", "height", "label")


class _Image(NamedTuple):
    """An image that is kept: its name, what the name says, and its label; "" for none."""

    name: str
    part: Part
    label: str


def write_box_csv(file: BinaryIO, source: ExportSource) -> int:
    """Write the images that are kept; x, y, width and height are those of a box, and empty for whole images.

    Photos are opened if their boxes are in parts of their sizes.

    Returns:
        The number of lines.
    """
    text = io.TextIOWrapper(file, "utf-8", "surrogateescape", newline="", write_through=True)
    rows, count = csv.writer(text, lineterminator="\n"), 0
    rows.writerow(HEADER)
    for image, box in _iter_boxes(source):
        cells = ["", "", "", ""] if box is None else [box.cols, box.rows, box.width, box.height]
        rows.writerow([to_utf8(image.name if box is None else image.part.file), *cells, escape_formula(image.label)])
        count += 1
    text.detach()
    return count


def _iter_boxes(source: ExportSource) -> Iterator[tuple[_Image, Box | None]]:
    """Yield the images that are kept, and their boxes in pixels; None for those that are no box."""
    for is_relative, images in groupby(_iter_images(source), lambda image: isinstance(image.part.box, RelativeBox)):
        photos = ((uri, list(boxes)) for uri, boxes in groupby(images, lambda image: image.part.file))
        if is_relative:
            sized = measure(photos, lambda photo: photo[0], source.run.access)
        else:
            sized = ((photo, (0, 0)) for photo in photos)
        for (_, boxes), size in sized:
            for image in boxes:
                yield image, None if image.part.box is None else image.part.box.resolve(size)


def _iter_images(source: ExportSource) -> Iterator[_Image]:
    for raw, facts in source.iter_facts(["label"]):
        name = os.fsdecode(raw)
        yield _Image(name, find_part(name, source.run.access), facts.get("label") or "")
