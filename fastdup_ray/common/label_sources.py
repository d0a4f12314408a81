"""Values of the parameter `labels` that name no CSV."""

import re
from dataclasses import dataclass

FOLDER = "folder"
"""The label of an image is the name of the folder that it is in."""

_BESIDE = re.compile(r"(\.\w+)(?::(.+))?")


@dataclass(frozen=True)
class LabelFile:
    """The label of an image is in the file beside it that has its name with another extension.

    Attributes:
        suffix: The extension, such as `.txt`.
        field: Of the object in a JSON file, the value that is the label; None: the label is the whole text.
    """

    suffix: str
    field: str | None


def parse_label_file(labels: str) -> LabelFile | None:
    """Return what a value such as `.txt` or `.json:caption` means; None if it is no such value."""
    match = _BESIDE.fullmatch(labels)
    return LabelFile(match[1], match[2]) if match else None
