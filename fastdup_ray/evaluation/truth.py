"""Truth files: which images are duplicates of each other, and how copies were edited."""

from dataclasses import dataclass

from fastdup_ray.inputs.labels import read_by_name

PATH, GROUP = "path", "group"
EDIT_COLUMNS = ("edit", "transform", "kind")
"""Names that the column of edits may have."""

ORIGINALS = ("", "original", "base")
"""Values of that column for an image that was not edited."""


@dataclass(frozen=True)
class Label:
    """What a truth file says of an image.

    Attributes:
        group: Images of one group are duplicates of each other; an image with "" has no duplicate.
        edit: How the image was edited; None if the file does not say.
    """

    group: str
    edit: str | None

    @property
    def is_original(self) -> bool:
        """Whether the image was not edited."""
        return self.edit in ORIGINALS


def read_truth(path: str) -> dict[str, Label]:
    """Read a CSV with the columns path, group and, optionally, edit.

    Args:
        path: The file. Relative paths in it start at its folder.

    Returns:
        The label of each image, by absolute path or URI.

    Raises:
        InputError: If the file cannot be read, has no such columns, or names an image twice.
    """
    labels: dict[str, Label] = {}
    for name, row in read_by_name(path, "the truth file", PATH, (GROUP,)):
        edit = next((row[column] for column in EDIT_COLUMNS if column in row), None)
        labels[name] = Label(row[GROUP], edit)
    return labels
