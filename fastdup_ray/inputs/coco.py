"""Boxes of a COCO file: https://cocodataset.org/#format-data.

An image has an id and a file_name; an annotation an image_id, a category_id and a bbox of left, top, width and height
in pixels, as floats; a category has an id and a name. Whatever else they have is not looked at.
"""

from collections.abc import Hashable
from typing import Any, TextIO

import numpy as np

from fastdup_ray.common.arrays import IntArray
from fastdup_ray.errors import InputError
from fastdup_ray.inputs.box_table import CROWD, BoxCollector, BoxTable
from fastdup_ray.inputs.json_stream import Element, iter_members

IMAGES, ANNOTATIONS, CATEGORIES = "images", "annotations", "categories"


def read_coco(path: str, file: TextIO) -> BoxTable:
    """Read the boxes of a COCO file, in time and memory proportional to their number.

    Crowds (`iscrowd`), which are not one object, and annotations without a valid box are counted and left out.

    Args:
        path: Its path, for messages.
        file: The file.

    Raises:
        InputError: It is not JSON, not COCO, or has two images with one id.
    """
    boxes, images, categories = BoxCollector(), _Ids(path, IMAGES), _Ids(path, CATEGORIES)
    missing = {IMAGES, ANNOTATIONS}
    try:
        for member in iter_members(file):
            if member.elements is None:
                continue
            missing.discard(member.key)
            for position, element in enumerate(member.elements):
                item = _Item(path, member.key, position, element)
                if member.key == IMAGES:
                    name = item.get_text("file_name")
                    images.set(item.get("id"), boxes.number_photo(name), name)
                elif member.key == CATEGORIES:
                    name = item.get_text("name")
                    categories.set(item.get("id"), boxes.number_label(name), name)
                elif member.key == ANNOTATIONS:
                    image, category_id = images.number(item.get("image_id")), item.value.get("category_id")
                    if item.value.get("iscrowd"):
                        boxes.leave_out(CROWD)
                        continue
                    label = -1 if category_id is None else categories.number(category_id)
                    boxes.add(image, item.value.get("bbox"), label, position)
    except ValueError as error:
        raise InputError(f"{path!r} is not valid JSON: {error}.") from None
    if missing:
        raise InputError(f"{path!r} is not a COCO file: it has no list {min(missing)!r}.")
    return boxes.build(images.values(), categories.values())


class _Item:
    """An image, annotation or category of a COCO file."""

    def __init__(self, path: str, key: str, position: int, element: Element) -> None:
        self._where = f"{path!r} is not a COCO file: item {position:,} of {key!r}"
        self.value: dict[str, Any] = element.value if isinstance(element.value, dict) else {}
        if not isinstance(element.value, dict) and key in (IMAGES, ANNOTATIONS, CATEGORIES):
            raise InputError(f"{self._where} is {element.text[:40]}.")

    def get(self, name: str) -> Any:
        """Return a value that it has to have."""
        if (value := self.value.get(name)) is None:
            raise InputError(f"{self._where} has no {name}.")
        return value

    def get_text(self, name: str) -> str:
        """Return a value that it has to have, as text."""
        text = str(self.get(name))
        try:
            text.encode("utf-8", "surrogateescape")
        except UnicodeEncodeError:  # half of a character that JSON writes as two
            raise InputError(f"{self._where} has the {name} {text!r}, which is no text.") from None
        return text


class _Ids:
    """The values of the ids of images, or of categories. An annotation may come before its image."""

    def __init__(self, path: str, what: str) -> None:
        self._path, self._what = path, what
        self._numbers: dict[Hashable, int] = {}
        self._values: dict[int, int] = {}

    def number(self, key: Any) -> int:
        """Return the position of an id, in the order in which ids are first met."""
        if not isinstance(key, Hashable):
            raise InputError(f"{self._path!r} has {key!r} as an id of {self._what}.")
        return self._numbers.setdefault(key, len(self._numbers))

    def set(self, key: Any, value: int, name: object) -> None:
        """Set the value of an id; raise `InputError` if it has another one already."""
        if self._values.setdefault(self.number(key), value) != value:
            raise InputError(
                f"{self._path!r} has two {self._what} with the id {key!r}, of which one is {name!r}: annotations "
                "cannot tell them apart."
            )

    def values(self) -> IntArray:
        """Return (n,) int64 values of the ids, by their positions; -1 for ids without one."""
        return np.array([self._values.get(number, -1) for number in range(len(self._numbers))], np.int64)
