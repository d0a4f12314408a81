"""Files that a run reads, made from annotations in a data frame: labels of images, or boxes with labels."""

import csv
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from fastdup_ray.common.locations import to_absolute
from fastdup_ray.errors import ConfigError
from fastdup_ray.inputs.annotations import Annotations

if TYPE_CHECKING:
    import pandas as pd

BOX_COLUMNS = ("col_x", "row_y", "width", "height")
"""Columns of a box: left, top, width and height in pixels."""

_NOT_HERE = ("bounding_box", "rotated_bbox")
"""Columns of places that are no upright boxes."""


def is_of_run(path: str) -> bool:
    """Return whether a run reads annotations as they are: COCO, or YOLO."""
    return path.lower().endswith((".json", ".yaml", ".yml")) or os.path.isdir(path)


def has_boxes(table: "pd.DataFrame") -> bool:
    """Return whether annotations have boxes; raise `ConfigError` if they have places of another kind."""
    if odd := [name for name in _NOT_HERE if name in table]:
        raise ConfigError(f"Annotations with the column {odd[0]} are not supported: use {', '.join(BOX_COLUMNS)}.")
    found = [name for name in BOX_COLUMNS if name in table]
    if found and len(found) < len(BOX_COLUMNS):
        missing = next(name for name in BOX_COLUMNS if name not in table)
        raise ConfigError(f"The annotations have the column {found[0]} of a box, but no {missing}.")
    return bool(found)


@contextmanager
def write_boxes(table: "pd.DataFrame", root: str) -> Iterator[tuple[str, "pd.DataFrame"]]:
    """Write boxes as a run reads them.

    Args:
        table: Annotations with absolute filenames and the columns of boxes.
        root: The folder or URI of the photos.

    Yields:
        The path of the file; and the annotations with the names of the boxes as filename, and those of the photos as
        img_filename.
    """
    columns = ["filename", *BOX_COLUMNS, *(["label"] if "label" in table else [])]
    with _write_csv("boxes.csv", table[columns]) as path:
        annotations = Annotations(path, to_absolute(root))
        boxes = annotations.read()
        names = np.array(table["filename"], object)
        names[boxes.position] = [os.fsdecode(name) for name in annotations.names(boxes).to_pylist()]
        yield path, table.assign(img_filename=table["filename"], filename=names)


@contextmanager
def write_labels(table: "pd.DataFrame") -> Iterator[str | None]:
    """Write labels of images as a run reads them; yield the path of the file, None if there are no labels."""
    if "label" not in table:
        yield None
        return
    labelled = table.drop_duplicates("filename")[["filename", "label"]].dropna()
    with _write_csv("labels.csv", labelled) as path:
        yield path


@contextmanager
def _write_csv(name: str, table: "pd.DataFrame") -> Iterator[str]:
    """Write a table to a temporary file, with empty cells for missing values."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, name)
        with open(path, "w", encoding="utf-8", errors="surrogateescape", newline="") as file:
            rows: Any = csv.writer(file)
            rows.writerow(table.columns)
            rows.writerows(table.astype(object).where(table.notna(), "").to_numpy().tolist())
        yield path
