"""COCO: the annotation file of a run without what its plan drops. All that is kept is written as it was.

Format: https://cocodataset.org/#format-data.
"""

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa

from fastdup_ray.common.arrays import BoolArray
from fastdup_ray.common.names import to_utf8
from fastdup_ray.errors import InputError
from fastdup_ray.export.export_source import ExportSource
from fastdup_ray.features import find_names
from fastdup_ray.inputs import find_boxes
from fastdup_ray.inputs.annotations import Annotations
from fastdup_ray.inputs.coco import ANNOTATIONS, CATEGORIES, IMAGES
from fastdup_ray.inputs.json_stream import iter_members
from fastdup_ray.storage.tables import encode_names


@dataclass(frozen=True)
class _Dropped:
    """What is left out of a COCO file.

    Attributes:
        images: Ids of images, with all their annotations.
        annotations: (m,) whether the annotation at each position is left out; there may be more annotations.
    """

    images: frozenset[Any]
    annotations: BoolArray

    def has(self, key: str, position: int, item: dict[str, Any]) -> bool:
        """Return whether an item of a list is left out."""
        if key == IMAGES:
            return item["id"] in self.images
        if key != ANNOTATIONS:
            return False
        is_dropped = position < len(self.annotations) and bool(self.annotations[position])
        return is_dropped or item["image_id"] in self.images


def write_coco(file: BinaryIO, source: ExportSource) -> int:
    """Write the annotations without those of images and boxes that the plan drops; without a file, the images alone.

    An image all of whose annotations are dropped is left out, since it would count as one without objects.

    Args:
        file: To write to.
        source: What to export.

    Returns:
        The number of images.

    Raises:
        InputError: The annotations are a CSV, cannot be read, or are of other images than the run.
    """
    if source.annotations is None:
        return _write_images(file, source)
    annotations = source.annotations
    if annotations.yolo is not None:
        raise InputError(f"{annotations.path!r} is of YOLO, which becomes no COCO file: use format='yolo'.")
    with annotations.open() as (_, is_coco):
        if not is_coco:
            raise InputError(f"{annotations.path!r} is a CSV, which becomes no COCO file: use format='csv'.")
    dropped = _find_dropped(annotations, source)
    counts = {IMAGES: 0}
    with annotations.open() as (text, _):
        for number, member in enumerate(iter_members(text)):
            file.write(_encode(f"{',' if number else '{'}\n{json.dumps(member.key)}: {member.text}"))
            if member.elements is None:
                continue
            texts = (
                element.text
                for position, element in enumerate(member.elements)
                if not dropped.has(member.key, position, element.value)
            )
            counts[member.key] = _write_array(file, texts)
    file.write(b"\n}\n")
    return counts[IMAGES]


def _find_dropped(annotations: Annotations, source: ExportSource) -> _Dropped:
    is_of_boxes = source.run.config.get("annotations") or find_boxes(source.run.names).any()
    return (_find_dropped_boxes if is_of_boxes else _find_dropped_images)(annotations, source)


def _find_dropped_images(annotations: Annotations, source: ExportSource) -> _Dropped:
    annotations.read()  # says what is wrong with it
    images = [(image["file_name"], image["id"]) for image in _iter_items(annotations, IMAGES)]
    names = encode_names(annotations.locate(name) for name, _ in images)
    dropped = np.flatnonzero(_are_dropped(names, annotations, source)).tolist()
    return _Dropped(frozenset(images[row][1] for row in dropped), np.empty(0, bool))


def _find_dropped_boxes(annotations: Annotations, source: ExportSource) -> _Dropped:
    boxes = annotations.read()
    dropped = np.zeros(int(boxes.position.max(initial=-1)) + 1, bool)
    dropped[boxes.position] = _are_dropped(annotations.names(boxes), annotations, source)
    lost: set[Any] = set()
    left: set[Any] = set()
    for position, annotation in enumerate(_iter_items(annotations, ANNOTATIONS)):
        is_dropped = position < len(dropped) and dropped[position]
        (lost if is_dropped else left).add(annotation["image_id"])
    return _Dropped(frozenset(lost - left), dropped)


def _are_dropped(names: pa.Array, annotations: Annotations, source: ExportSource) -> BoolArray:
    """Return (n,) whether the plan drops each of n images; raise `InputError` if the run has none of them."""
    if not (find_names(names, source.run.names, source.dropped.scratch) >= 0).any():
        raise InputError(
            f"{annotations.path!r} has no image of the run; the names in it are relative to {annotations.root!r}."
        )
    return source.dropped.has(names)


def _iter_items(annotations: Annotations, key: str) -> Iterator[dict[str, Any]]:
    """Yield the items of a list in a COCO file."""
    with annotations.open() as (text, _):
        for member in iter_members(text):
            if member.key == key and member.elements is not None:
                yield from (element.value for element in member.elements)


def _write_images(file: BinaryIO, source: ExportSource) -> int:
    """Write a COCO file of the images that are kept, without annotations."""
    root = None if source.root is None else source.root.rstrip("/") + "/"

    def iter_texts() -> Iterator[str]:
        for number, (raw, size) in enumerate(source.iter_facts(["width", "height"]), 1):
            name = os.fsdecode(raw)
            name = to_utf8(name if root is None else name.removeprefix(root))
            yield json.dumps({"id": number, "file_name": name, **size}, ensure_ascii=False)

    file.write(_encode(f'{{\n"{IMAGES}": '))
    count = _write_array(file, iter_texts())
    file.write(_encode(f',\n"{ANNOTATIONS}": [],\n"{CATEGORIES}": []\n}}\n'))
    return count


def _write_array(file: BinaryIO, texts: Iterator[str] | Sequence[str]) -> int:
    count = 0
    for text in texts:
        file.write(_encode(f"{',' if count else '['}\n{text}"))
        count += 1
    file.write(b"\n]" if count else b"[]")
    return count


def _encode(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
