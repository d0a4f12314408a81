"""What all places are asked with."""

from dataclasses import dataclass
from typing import Literal

Link = Literal["hard", "copy", "symlink"]
LINK_KINDS = ("hard", "copy", "symlink")
"""Ways to have a file under a second name."""


@dataclass(frozen=True, slots=True)
class FileIdentity:
    """By what a file is known again. size: bytes, None where it is not known. sha256, etag: or ""."""

    size: int | None = None
    sha256: str = ""
    etag: str = ""
