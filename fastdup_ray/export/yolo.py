"""YOLO: a zip with a text file for each photo, and the names of the classes, without what the plan drops.

A line of a text file has the number of a class, and the center, width and height of a box in parts of the photo.
Format: https://docs.ultralytics.com/datasets/detect/.
"""

import json
import os
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import BinaryIO, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fastdup_ray.common.access import Access
from fastdup_ray.common.arrays import BoolArray
from fastdup_ray.common.events import log
from fastdup_ray.config import RunConfig
from fastdup_ray.errors import ConfigError, InputError
from fastdup_ray.export.export_source import ExportSource
from fastdup_ray.extract.decode import get_upright_size
from fastdup_ray.extract.open_image import open_image
from fastdup_ray.extract.pillow_settings import strict_pillow
from fastdup_ray.inputs import read_entry, stat
from fastdup_ray.inputs.box_table import BoxTable

MAX_PIXELS: int = RunConfig.model_fields["max_pixels"].default
"""Pixels of the largest photo whose size is read."""

_THREADS, _AT_ONCE = 16, 256
"""Threads that read the sizes of photos, and how many photos are waited for at a time."""

_EPOCH = (1980, 1, 1, 0, 0, 0)
"""The date of all files in the zip, so that equal results are equal bytes."""

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
    boxes = annotations.read()
    dropped = pa.array(source.dropped, pa.large_binary())
    is_kept = ~pc.is_in(annotations.names(boxes), dropped).to_numpy(zero_copy_only=False) & (boxes.label >= 0)
    photos = (
        photo
        for photo in boxes.iter_photos()
        if os.fsencode(annotations.locate(photo[0])) not in source.dropped and is_kept[slice(*photo[1:])].any()
    )
    written: dict[str, str] = {}
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        _add(archive, "data.yaml", _describe_classes(boxes))
        for photo, size in _measure(photos, annotations.locate, source.run.access):
            name = _name_text(photo[0])
            if (other := written.setdefault(name.casefold(), photo[0])) != photo[0]:
                raise InputError(
                    f"{other!r} and {photo[0]!r} would have one file {name!r} in YOLO: rename one of them."
                )
            _add(archive, name, _format_boxes(boxes, is_kept, photo, size))
    return len(written)


def _measure(
    photos: Iterator[Photo], locate: Callable[[str], str], access: Access
) -> Iterator[tuple[Photo, tuple[int, int]]]:
    """Yield photos, and their width and height; those that cannot be read are counted and left out."""
    unreadable = 0
    with strict_pillow(MAX_PIXELS), ThreadPoolExecutor(_THREADS) as pool:
        while batch := list(islice(photos, _AT_ONCE)):
            sizes = pool.map(lambda photo: _read_size(locate(photo[0]), access), batch)
            for photo, size in zip(batch, sizes, strict=True):
                if size is None:
                    unreadable += 1
                else:
                    yield photo, size
    if unreadable:
        log.warning("%s photos cannot be read, and are left out.", f"{unreadable:,}")


def _read_size(uri: str, access: Access) -> tuple[int, int] | None:
    try:
        with open_image(read_entry(stat(uri, access), access)) as image:
            return get_upright_size(image)
    except Exception:  # plugins raise anything at all on broken files
        return None


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


def _add(archive: zipfile.ZipFile, name: str, text: str) -> None:
    info = zipfile.ZipInfo(name, _EPOCH)
    info.compress_type = zipfile.ZIP_DEFLATED
    archive.writestr(info, text.encode("utf-8", "surrogateescape"))
