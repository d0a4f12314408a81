"""What pages need to know of a run: whether they show images, and what its values mean."""

from fastdup_ray.common import layout
from fastdup_ray.common.facts import StoredConfig
from fastdup_ray.common.layout import INDEXED, SCORED, FileSet
from fastdup_ray.outputs.stored_config import read_config
from fastdup_ray.storage import Store


def wants_thumbnails(store: Store, files: FileSet = INDEXED, *, thumbnails: bool | None = None) -> bool:
    """Return whether pages show images: `thumbnails`, or if that is None, what the run was given."""
    return bool(read_config(store, files).get("thumbnails", True)) if thumbnails is None else thumbnails


def find_file_set(store: Store, name: str) -> FileSet:
    """Return the set of files that `name` belongs to. After a scoring, similarity.csv belongs to the scored set."""
    scored = name.startswith(SCORED.prefix) or (name in layout.TRAIN_BACKUP and store.exists(layout.TRAIN_BACKUP[name]))
    return SCORED if scored else INDEXED


def is_cosine(config: StoredConfig) -> bool:
    """Return whether the column `distance` has similarities, so that thresholds apply to it."""
    return bool(config.get("distance", "cosine") == "cosine")


def describe_measure(config: StoredConfig) -> str:
    """Return what the column `distance` has, as a text for people."""
    return "similarity" if is_cosine(config) else f"{config['distance'].replace('_', ' ')} distance"
