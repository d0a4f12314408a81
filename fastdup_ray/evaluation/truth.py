"""Truth files: which pictures show the same, and what was done to them."""

from dataclasses import dataclass

from fastdup_ray.inputs.labels import read_by_name

PATH, GROUP = "path", "group"
EDIT_COLUMNS = ("edit", "transform", "kind")
ORIGINALS = ("", "original", "base")
"""What the column of edits says of a picture that nothing was done to."""


@dataclass(frozen=True)
class Label:
    """What the truth says of a picture. group: pictures of one group show the same; '': like no other.

    edit: what was done to it, None where the truth does not say.
    """

    group: str
    edit: str | None

    @property
    def is_original(self) -> bool:
        return self.edit in ORIGINALS


def read_truth(path: str) -> dict[str, Label]:
    """The labels of a CSV with the columns path, group and maybe edit, by absolute path or URI.

    Relative paths start at the folder of the truth file. Raises `InputError`.
    """
    labels: dict[str, Label] = {}
    for name, row in read_by_name(path, "the truth file", PATH, (GROUP,)):
        edit = next((row[column] for column in EDIT_COLUMNS if column in row), None)
        labels[name] = Label(row[GROUP], edit)
    return labels
