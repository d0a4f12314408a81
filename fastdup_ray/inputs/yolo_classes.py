"""The names of the classes of a YOLO data set: in `data.yaml`, or line by line in `classes.txt`.

Format of data.yaml: https://docs.ultralytics.com/datasets/detect/. Of it, `names` and `kpt_shape` are read.
"""

import codecs
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from fastdup_ray.common.access import Access
from fastdup_ray.common.locations import is_remote
from fastdup_ray.errors import InputError
from fastdup_ray.inputs.list_file import open_path
from fastdup_ray.inputs.sources import is_file

CLASSES_TXT = "classes.txt"

_FILES = ("data.yaml", "data.yml", CLASSES_TXT)
"""Names of the files that are looked for, the preferred one first."""

_LEVELS = 3
"""Folders in which they are looked for: `dataset/labels/train`, `dataset/labels` and `dataset`."""

_LARGEST = 1 << 20
"""Bytes of the largest file that is read."""


@dataclass(frozen=True)
class Classes:
    """The classes of a YOLO data set.

    Attributes:
        path: Path or URI of the file that names them; None if there is none.
        names: Number of a class -> its name.
        keypoint_values: Numbers that follow the box in each line, if the data set has keypoints.
    """

    path: str | None
    names: Mapping[int, str]
    keypoint_values: int = 0


def is_yaml_name(name: str) -> bool:
    """Return whether a name is that of a YAML file."""
    return name.lower().endswith((".yaml", ".yml"))


def find_classes(folder: str, access: Access) -> Classes:
    """Return the classes of the labels in a folder, from the nearest file that names them, in it or above it.

    Raises:
        InputError: A file of that name cannot be read, or is not what it should be.
    """
    for path in _iter_candidates(folder):
        if is_file(path, access) and (classes := _read_classes(path, access)).names:
            return classes
    return Classes(None, {})


def read_data_yaml(path: str, access: Access) -> Classes:
    """Return the classes that a `data.yaml` names.

    Raises:
        InputError: It cannot be read, is not what it should be, or names no classes.
    """
    classes = _read_classes(path, access)
    if not classes.names:
        raise InputError(f"{path!r} has no 'names', so it is no data.yaml of YOLO.")
    return classes


def _iter_candidates(folder: str) -> Iterator[str]:
    for _ in range(_LEVELS):
        yield from (f"{folder}/{name}" for name in _FILES)
        above = folder.rpartition("/")[0]
        if not above or (is_remote(folder) and not is_remote(above)):
            return
        folder = above


def _read_classes(path: str, access: Access) -> Classes:
    with open_path(path, access) as file:
        data = file.read(_LARGEST + 1)
    if len(data) > _LARGEST:
        raise InputError(f"{path!r} names no classes: it has more than 1 MiB.")
    text = data.removeprefix(codecs.BOM_UTF8).decode("utf-8", "surrogateescape")
    return _parse_yaml(path, text) if is_yaml_name(path) else Classes(path, _number(text.rstrip().splitlines()))


def _parse_yaml(path: str, text: str) -> Classes:
    try:
        content = yaml.load(text, yaml.BaseLoader)  # all values are texts: a class may be called "no", or "1e3"
    except (yaml.YAMLError, RecursionError, ValueError, OverflowError) as error:  # the last two: "\\UFFFFFFFF"
        raise InputError(f"{path!r} is not valid YAML: {_explain(error)}.") from None
    if not isinstance(content, dict):
        return Classes(path, {})
    names = content.get("names") or {}
    try:
        numbered = {int(key): name for key, name in names.items()} if isinstance(names, dict) else _number(names)
        shape = [int(number) for number in content.get("kpt_shape") or []]
    except (ValueError, TypeError):
        raise InputError(f"{path!r} is no data.yaml of YOLO: its 'names' or 'kpt_shape' cannot be read.") from None
    if not all(map(_is_text, numbered.values())):
        raise InputError(f"{path!r} is no data.yaml of YOLO: 'names' are not all texts.")
    return Classes(path, numbered, math.prod(shape) if shape else 0)


def _number(names: list[Any]) -> dict[int, Any]:
    if not isinstance(names, list):
        raise TypeError
    return {number: name.strip() if isinstance(name, str) else name for number, name in enumerate(names)}


def _is_text(name: object) -> bool:
    """Return whether a name is a text that can be written; half of a character that YAML writes as two cannot."""
    try:
        return isinstance(name, str) and name.encode("utf-8", "surrogateescape") is not None
    except UnicodeEncodeError:
        return False


def _explain(error: Exception) -> str:
    """Return what is wrong in one line."""
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or type(error).__name__
    return f"{problem} in line {mark.line + 1}" if mark else str(problem)
