"""Steps for pipelines of Ray Data: embed the images of a `Dataset`, or remove its duplicates.

Example:
    import ray
    from fastdup_ray.data import deduplicate

    images = ray.data.read_binary_files("photos/", include_paths=True)
    unique = deduplicate(images)

Importing this module imports Ray Data, which needs pandas: pip install 'fastdup-ray[data]'.
"""

from fastdup_ray.data.deduplication import deduplicate
from fastdup_ray.data.embedding import embed

__all__ = ["deduplicate", "embed"]
