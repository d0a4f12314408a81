"""YOLO from YOLO: the text files of a data set without the lines of what the plan drops. All else is as it was."""

import os
import zipfile
from typing import BinaryIO

import numpy as np

from fastdup_ray.common.names import to_utf8
from fastdup_ray.export.export_source import ExportSource
from fastdup_ray.inputs.annotations import Annotations
from fastdup_ray.inputs.list_file import open_path
from fastdup_ray.inputs.yolo import YoloDataset
from fastdup_ray.inputs.yolo_files import read_lines
from fastdup_ray.storage.tables import encode_names

_EPOCH = (1980, 1, 1, 0, 0, 0)
"""The date of all files in the zip, so that equal results are equal bytes."""


def write_yolo_texts(file: BinaryIO, source: ExportSource, annotations: Annotations, dataset: YoloDataset) -> int:
    """Write the lines of boxes that are kept, and the file that names the classes, byte for byte.

    Names in the zip are relative to the folder of that file; without it, to the folder of the text files. A text file
    that has no line left, or whose photo is dropped, is left out: its photo would count as one without objects.

    Args:
        file: To write to.
        source: What to export.
        annotations: The annotations.
        dataset: The same as text files.

    Returns:
        The number of text files.

    Raises:
        InputError: The annotations cannot be read.
    """
    dropped = _find_dropped_lines(source, annotations)
    named = dataset.classes.path
    start = f"{os.path.dirname(named) if named else dataset.folder}/"
    count = position = 0
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        if named:
            with open_path(named, annotations.access) as names:
                add_text(archive, to_utf8(named.removeprefix(start)), names.read())
        without_photo = _have_dropped_photos(dataset, source, annotations)
        texts = read_lines(dataset.texts, annotations.access)
        for (text, lines), has_none in zip(texts, without_photo, strict=True):
            kept = lines
            if text.photos:
                kept = [line for place, line in enumerate(lines, position) if place not in dropped]
                position += len(lines)
            is_empty = len(kept) < len(lines) and not b"".join(kept).strip()
            if not is_empty and not has_none:
                add_text(archive, to_utf8(text.ref.uri.removeprefix(start)), b"".join(kept))
                count += 1
    return count


def add_text(archive: zipfile.ZipFile, name: str, content: str | bytes) -> None:
    """Add a text file to a zip."""
    info = zipfile.ZipInfo(name, _EPOCH)
    info.compress_type = zipfile.ZIP_DEFLATED
    archive.writestr(info, content.encode("utf-8", "surrogateescape") if isinstance(content, str) else content)


def _find_dropped_lines(source: ExportSource, annotations: Annotations) -> frozenset[int]:
    """Return the positions of the lines that are dropped; one that is of two photos, if it is dropped for both."""
    boxes = annotations.read()
    names = annotations.names(boxes)
    is_dropped = source.dropped.has(names)
    return frozenset(np.setdiff1d(boxes.position[is_dropped], boxes.position[~is_dropped]).tolist())


def _have_dropped_photos(dataset: YoloDataset, source: ExportSource, annotations: Annotations) -> list[bool]:
    """Return whether each text file belongs to photos that are all dropped."""
    names = encode_names(annotations.locate(photo) for text in dataset.texts for photo in text.photos)
    dropped = iter(source.dropped.has(names).tolist())
    own = [[next(dropped) for _ in text.photos] for text in dataset.texts]
    return [bool(photos) and all(photos) for photos in own]
