"""Types that the movers of local files and of objects on S3 share."""

from dataclasses import dataclass
from typing import Literal, get_args

from fastdup_ray.storage.disk_list import reduce_to_fields

Link = Literal["hard", "copy", "symlink"]
"""How a file gets a second name: a hard link, a copy, or a symbolic link."""

LINK_KINDS: tuple[Link, ...] = get_args(Link)


@dataclass(frozen=True, slots=True)
class FileIdentity:
    """What a file is compared with before it is moved. A field that is not known is not compared.

    The journal stores these fields under their names.

    Attributes:
        size: In bytes; None if not known.
        sha256: Digest of the content, in hex; "" if not known.
        etag: ETag of an object on S3; "" if not known, and for local files.
    """

    size: int | None = None
    sha256: str = ""
    etag: str = ""

    __reduce__ = reduce_to_fields
