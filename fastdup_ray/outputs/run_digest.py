"""By which a plan, a page and a work_dir are known to be of the same run."""

import hashlib

from fastdup_ray.common import layout
from fastdup_ray.common.layout import INDEXED, FileSet
from fastdup_ray.storage import Store
from fastdup_ray.storage.checked_json import hash_file


def digest_images(store: Store, files: FileSet = INDEXED) -> str:
    """Return the digest of the images of a run, or of a scoring and what it was scored against.

    Raises:
        FileNotFoundError: where there is no such run.
    """
    digests = [hash_file(store.fetch(of.name(layout.IMAGES))) for of in dict.fromkeys((files, INDEXED))]
    return digests[0] if files is INDEXED else hashlib.sha256("".join(digests).encode()).hexdigest()
