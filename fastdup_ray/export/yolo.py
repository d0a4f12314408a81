"""YOLO: a zip with a text file for each photo, and the names of the classes, without what the plan drops.

A line of a text file has the number of a class, and the center, width and height of a box in parts of the photo.
Format: https://docs.ultralytics.com/datasets/detect/.
"""

import json
import os
import zipfile
from typing import BinaryIO, TypeAlias

import numpy as np

from fastdup_ray.common.arrays import BoolArray
from fastdup_ray.errors import ConfigError, InputError
from fastdup_ray.export.export_source import ExportSource
from fastdup_ray.export.photo_sizes import measure
from fastdup_ray.export.yolo_texts import add_text, write_yolo_texts
from fastdup_ray.inputs.box_table import BoxTable
from fastdup_ray.storage.tables import encode_names

Photo: TypeAlias = tuple[str, int, int]
"""The name of a photo in the annotation file, and the range of its boxes."""


def write_yolo(file: BinaryIO, source: ExportSource) -> int:
    """Write the boxes that are kept, of photos that are kept; boxes without a category have no class and are left out.

    Photos are opened, since boxes are in parts of their sizes.

    Args:
        file: To write to.
        source: What to export.

    Returns:
        The number of photos.

    Raises:
        ConfigError: The run has no annotations.
        InputError: The annotations cannot be read, or two photos would have one text file.
    """
    annotations = source.annotations
    if annotations is None:
        raise ConfigError("Invalid value for format: 'yolo' (the run has no boxes: name annotations).")
    if annotations.yolo is not None:
        return write_yolo_texts(file, source, annotations, annotations.yolo)
    boxes = annotations.read()
    is_kept = ~source.dropped.has(annotations.names(boxes)) & (boxes.label >= 0)
    is_whole = ~source.dropped.has(encode_names(annotations.locate(photo[0]) for photo in boxes.iter_photos()))
    photos = (
        photo
        for photo, whole in zip(boxes.iter_photos(), is_whole.tolist(), strict=True)
        if whole and is_kept[slice(*photo[1:])].any()
    )
    written: dict[str, str] = {}
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        add_text(archive, "data.yaml", _describe_classes(boxes))
        for photo, size in measure(photos, lambda photo: annotations.locate(photo[0]), source.run.access):
            name = _name_text(photo[0])
            if (other := written.setdefault(name.casefold(), photo[0])) != photo[0]:
                raise InputError(
                    f"{other!r} and {photo[0]!r} would have one file {name!r} in YOLO: rename one of them."
                )
            add_text(archive, name, _format_boxes(boxes, is_kept, photo, size))
    return len(written)


def _format_boxes(boxes: BoxTable, is_kept: BoolArray, photo: Photo, size: tuple[int, int]) -> str:
    _, start, stop = photo
    rows = start + np.flatnonzero(is_kept[start:stop])
    corners = boxes.boxes[rows].astype(float)
    corners[:, 2:] += corners[:, :2]
    corners = np.clip(corners / [*size, *size], 0, 1)
    centers, sides = (corners[:, 2:] + corners[:, :2]) / 2, corners[:, 2:] - corners[:, :2]
    lines = [
        f"{label} {' '.join(f'{number:.6f}' for number in (*center, *side))}\n"
        for label, center, side in zip(boxes.label[rows].tolist(), centers, sides, strict=True)
        if side.min() > 0
    ]
    return "".join(lines)


def _describe_classes(boxes: BoxTable) -> str:
    """Return YAML; a string of JSON is one of YAML as well."""
    names = "".join(f"  {number}: {json.dumps(label)}\n" for number, label in enumerate(boxes.labels))
    return f"names:\n{names}" if names else "names: {}\n"


def _name_text(photo: str) -> str:
    """Return the name in the zip of the text file of a photo."""
    parts = [part for part in photo.rpartition("://")[2].split("/") if part not in ("", ".", "..")]
    return f"labels/{os.path.splitext('/'.join(parts))[0]}.txt"
