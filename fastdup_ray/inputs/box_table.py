"""The boxes of an annotation file as arrays: a million of them take 64 MB."""

import posixpath
from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from fastdup_ray.common.arrays import IntArray
from fastdup_ray.common.records import Box, RelativeBox
from fastdup_ray.inputs.boxes import LARGEST, format_box_suffix

NO_BOX, CROWD, NO_PHOTO = "no valid box", "crowd", "unknown image"
"""Why annotations are left out."""


@dataclass(frozen=True)
class BoxTable:
    """m boxes of p photos; those of one photo follow one another, in the order of the file.

    Attributes:
        photos: Names of the p photos, as the file has them.
        photo: (m,) int64 photo of each box, ascending.
        boxes: (m, 4) int64 left, top, width and height of the upright photo: in pixels, or as a `RelativeBox` has them.
        number: (m,) int64, counts equal boxes of one photo from 1.
        label: (m,) int64 position in `labels`, or -1.
        labels: Names of the categories.
        position: (m,) int64 position in the file, among its annotations or rows, from 0.
        left_out: Why annotations of the file are not here -> how many.
        is_relative: Whether boxes are in parts of the photo.
        unmatched: Number of text files of YOLO that belong to no photo.
    """

    photos: Sequence[str]
    photo: IntArray
    boxes: IntArray
    number: IntArray
    label: IntArray
    labels: Sequence[str]
    position: IntArray
    left_out: Mapping[str, int]
    is_relative: bool = False
    unmatched: int = 0

    def __len__(self) -> int:
        return len(self.photo)

    def iter_suffixes(self, start: int = 0, stop: int | None = None) -> Iterator[str]:
        """Yield what is appended to the name of the photo for each of the boxes [start, stop)."""
        rows = slice(start, stop)
        for (left, top, width, height), number in zip(
            self.boxes[rows].tolist(), self.number[rows].tolist(), strict=True
        ):
            box = RelativeBox(left, top, width, height) if self.is_relative else Box(top, left, width, height)
            yield format_box_suffix(box, number)

    def iter_photos(self) -> Iterator[tuple[str, int, int]]:
        """Yield the name of each photo with boxes, and the range of its boxes."""
        edges = [*np.flatnonzero(np.diff(self.photo, prepend=-1)).tolist(), len(self)]
        for start, stop in pairwise(edges):
            yield self.photos[int(self.photo[start])], start, stop


class BoxCollector:
    """Collects the boxes of a file, in any order.

    Args:
        is_relative: Whether boxes are in parts of the photo, in the unit of `RelativeBox`.
    """

    def __init__(self, *, is_relative: bool = False) -> None:
        self._is_relative = is_relative
        self._photos: dict[str, int] = {}
        self._labels: dict[str, int] = {}
        self._photo, self._label, self._position = array("q"), array("q"), array("q")
        self._edges = array("d")
        self._left_out: dict[str, int] = {}

    def number_photo(self, name: str) -> int:
        """Return the number of a photo; equal paths, such as `a.jpg` and `./a.jpg`, have one."""
        return self.number_listed_photo(name if "://" in name else posixpath.normpath(name))

    def number_listed_photo(self, name: str) -> int:
        """Return the number of a photo whose name comes from a listing, not from a file."""
        return self._photos.setdefault(name, len(self._photos))

    def number_label(self, name: str) -> int:
        """Return the number of a category; -1 for none."""
        return self._labels.setdefault(name, len(self._labels)) if name else -1

    def leave_out(self, reason: str, count: int = 1) -> None:
        """Count annotations that are left out."""
        self._left_out[reason] = self._left_out.get(reason, 0) + count

    def add(self, photo: int, box: object, label: int, position: int) -> None:
        """Add a box, or count it as left out if it is none.

        Args:
            photo: Number of the photo, or any number that `build` is given a photo for.
            box: Its left, top, width and height in pixels, or in the unit of `RelativeBox`.
            label: Number of its category, likewise.
            position: In the file.
        """
        if not isinstance(box, (list, tuple)) or len(box) != 4 or not all(map(_is_coordinate, box)):
            self.leave_out(NO_BOX)
            return
        left, top, width, height = box
        self._edges.extend((left, top, left + max(width, 0), top + max(height, 0)))
        self._photo.append(photo)
        self._label.append(label)
        self._position.append(position)

    def build(
        self, photo_of: IntArray | None = None, label_of: IntArray | None = None, *, unmatched: int = 0
    ) -> BoxTable:
        """Return the boxes.

        Args:
            photo_of: The photo of each number that `add` was given; -1 for none. Without it, they are photos.
            label_of: The same for categories.
            unmatched: See `BoxTable`.
        """
        photo, label, position = (
            np.frombuffer(column, np.int64) if column else np.empty(0, np.int64)
            for column in (self._photo, self._label, self._position)
        )
        edges = np.frombuffer(self._edges).reshape(-1, 4) if self._edges else np.empty((0, 4))
        photo = photo if photo_of is None else photo_of[photo]
        label = label if label_of is None else np.append(label_of, -1)[label]  # -1 stays -1
        if unknown := int((photo < 0).sum()):
            self.leave_out(NO_PHOTO, unknown)
        order = np.argsort(photo, kind="stable")
        order = order[photo[order] >= 0]
        corners = np.clip(np.floor(edges[order] + 0.5), 0, LARGEST).astype(np.int64)
        boxes = np.hstack([corners[:, :2], corners[:, 2:] - corners[:, :2]])
        return BoxTable(
            list(self._photos),
            photo[order],
            boxes,
            _number_repeats(np.column_stack([photo[order], boxes])),
            label[order],
            list(self._labels),
            position[order],
            self._left_out,
            self._is_relative,
            unmatched,
        )


def _is_coordinate(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) <= LARGEST  # NaN is not


def _number_repeats(rows: IntArray) -> IntArray:
    """Return (m,) which of several equal rows each one is, from 1."""
    order = np.lexsort(rows.T[::-1])  # stable: equal rows stay in their order
    is_new = np.ones(len(rows), bool)
    is_new[1:] = (rows[order][1:] != rows[order][:-1]).any(axis=1)
    place = np.arange(len(rows))
    number = np.empty(len(rows), np.int64)
    number[order] = place - np.maximum.accumulate(np.where(is_new, place, 0)) + 1
    return number
