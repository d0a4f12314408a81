"""What a plan says about one image (`PlanRow`)."""

import os
from dataclasses import dataclass
from typing import Final, Literal, TypedDict

from fastdup_ray.errors import InputError
from fastdup_ray.storage.disk_list import reduce_to_fields

Action = Literal["keep", "drop"]
KEEP: Final = "keep"
DROP: Final = "drop"


class ImageFacts(TypedDict):
    """The fields of a `PlanRow` that come from the run rather than from the plan."""

    size: int | None
    sha256: str
    etag: str
    reference: bool
    run: str


@dataclass(frozen=True, slots=True)
class PlanRow:
    """What a plan says about one image. The fields are the columns of the CSV and the members of the JSON.

    Attributes:
        filename: Absolute path or URI; bytes that are not UTF-8 are surrogates.
        action: `keep` or `drop`.
        group: Number of the group: the lowest `component_id` of its images.
        keeper: For a dropped image, the kept image that it duplicates; else "".
        similarity: For a dropped image, the cosine with its keeper; else None.
        rule: The rule that decided, as in `--keep`; `name`, `direct`, or `csv_columns.BY_HAND`.
        reason: The same in words.
        size: In bytes; None if the run did not read the file.
        sha256: Digest of the content, in hex, or "".
        etag: ETag of an object on S3, or "".
        reference: Whether the image is of a reference input, which is never moved.
        run: `SeenImages.digest` of the run that the row was made from; "" if the plan does not say.
    """

    filename: str
    action: Action
    group: int
    keeper: str
    similarity: float | None
    rule: str
    reason: str
    size: int | None
    sha256: str
    etag: str
    reference: bool
    run: str = ""

    __reduce__ = reduce_to_fields

    @property
    def is_dropped(self) -> bool:
        return self.action == DROP


def check_name(row: PlanRow) -> None:
    """Raise `InputError` if the name of an image is not absolute."""
    if "\0" in row.filename or not (os.path.isabs(row.filename) or "://" in row.filename):
        raise InputError(f"The plan has {row.filename!r}, which is neither an absolute path nor a URI.")
