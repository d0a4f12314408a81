"""Boxes of a YOLO data set: https://docs.ultralytics.com/datasets/detect/.

A text file for each photo has a line for each object: the number of its class, and the center, width and height of its
box, or the corners of a polygon, in parts of the upright photo. A confidence may follow.
"""

import codecs
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from fastdup_ray.common.access import Access
from fastdup_ray.common.locations import is_remote
from fastdup_ray.common.records import RelativeBox
from fastdup_ray.inputs.box_table import NO_BOX, BoxCollector, BoxTable
from fastdup_ray.inputs.file_source import get_remote_source
from fastdup_ray.inputs.yolo_classes import Classes, find_classes, is_yaml_name, read_data_yaml
from fastdup_ray.inputs.yolo_files import TextFile, list_texts, read_lines


@dataclass(frozen=True)
class YoloDataset:
    """Text files of YOLO, and where their photos are.

    Attributes:
        path: Path or URI of the folder of the text files, or of a `data.yaml` in a folder above them.
        root: The folder, bucket prefix or archive of the photos.
        is_archive: Whether `root` is an archive.
        access: How buckets are accessed.
    """

    path: str
    root: str
    is_archive: bool
    access: Access

    @cached_property
    def folder(self) -> str:
        """Path or URI of the folder of the text files."""
        return self.path.rpartition("/")[0] if is_yaml_name(self.path) else self.path.rstrip("/")

    @cached_property
    def classes(self) -> Classes:
        """The names of the classes."""
        if is_yaml_name(self.path):
            return read_data_yaml(self.path, self.access)
        return find_classes(self.folder, self.access)

    @cached_property
    def texts(self) -> Sequence[TextFile]:
        """The text files; raises `InputError` if no text file belongs to a photo."""
        return list_texts(self.folder, self.root, self.access, is_archive=self.is_archive)

    def check(self) -> None:
        """Raise `InputError` if the names of the classes cannot be read, or the folder cannot be listed."""
        _ = self.classes
        if is_remote(self.folder):
            get_remote_source(self.folder).check_listing(self.folder, self.access)

    def read(self) -> BoxTable:
        """Return the boxes; the position of a box is the number of its line, counted in all files that have photos.

        Raises:
            InputError: The files cannot be read, or none belongs to a photo.
        """
        boxes, position = BoxCollector(is_relative=True), 0
        names, keypoint_values = self.classes.names, self.classes.keypoint_values
        matched = [text for text in self.texts if text.photos]
        for text, lines in read_lines(matched, self.access):
            photos = [boxes.number_listed_photo(name) for name in text.photos]
            for place, line in enumerate(lines, position):
                if not (numbers := line.removeprefix(codecs.BOM_UTF8).split()):
                    continue
                if (parsed := parse_box(numbers, keypoint_values)) is None:
                    boxes.leave_out(NO_BOX)
                    continue
                number, box = parsed
                label = boxes.number_label(names.get(number, str(number)))
                for photo in photos:
                    boxes.add(photo, box, label, place)
            position += len(lines)
        return boxes.build(unmatched=len(self.texts) - len(matched))


def parse_box(numbers: Sequence[bytes], keypoint_values: int = 0) -> tuple[int, Sequence[float]] | None:
    """Return the class of an object, and its box; None if there is none.

    Args:
        numbers: What a line has, separated by blanks.
        keypoint_values: Numbers that follow the box; 0 if there are no keypoints.

    Returns:
        The number of the class; left, top, width and height in units of `RelativeBox`. Of a polygon, the box around it.
    """
    try:
        number, *values = map(float, numbers)
    except ValueError:
        return None
    if not all(map(math.isfinite, [number, *values])) or number != int(number) or number < 0:
        return None
    if keypoint_values and len(values) - keypoint_values in (4, 5):
        values = values[:4]
    if len(values) in (4, 5):
        x, y, width, height = values[:4]
        left, top = x - width / 2, y - height / 2
    elif len(values) >= 6:
        # Of an odd number, the last one is the confidence.
        columns, rows = values[: len(values) // 2 * 2 : 2], values[1::2]
        left, top = min(columns), min(rows)
        width, height = max(columns) - left, max(rows) - top
    else:
        return None
    return int(number), [value * RelativeBox.UNITS for value in (left, top, width, height)]
