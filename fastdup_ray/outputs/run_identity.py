"""The digest that shows whether a plan, a page and a work_dir are of the same run."""

import hashlib

from fastdup_ray.common import layout
from fastdup_ray.common.layout import INDEXED, FileSet
from fastdup_ray.storage import Store
from fastdup_ray.storage.checked_json import hash_file


def digest_images(store: Store, files: FileSet = INDEXED) -> str:
    """Return the digest of the images of a run; for a scoring, of the new images and the indexed ones.

    Raises:
        FileNotFoundError: There is no such run.
    """
    digests = [hash_file(store.fetch(each.name(layout.IMAGES))) for each in dict.fromkeys((files, INDEXED))]
    return digests[0] if files is INDEXED else hashlib.sha256("".join(digests).encode()).hexdigest()
