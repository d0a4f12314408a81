"""Splits of datasets, such as `dataset/train`: files of one folder that begin with the name of the split."""

import os

from fastdup_ray.common.access import Access
from fastdup_ray.common.locations import is_remote
from fastdup_ray.errors import InputError
from fastdup_ray.inputs.file_source import get_remote_source
from fastdup_ray.inputs.suffixes import get_split

_DATA = "data"
"""The folder in which datasets of Hugging Face usually have their files."""


def find_split(location: str, access: Access) -> list[str]:
    """Return the files of a split, sorted.

    Args:
        location: The folder of the dataset and the name of the split: `dataset/train` has the files
            `dataset/train-00000-of-00002.parquet` and so on, or else those of `dataset/data`.
        access: How buckets are accessed.

    Returns:
        Paths or URIs; none if there is no such split, or a file or folder of that name.
    """
    remote = is_remote(location)
    if not remote and os.path.lexists(location):
        return []
    folder, _, split = (location if remote else os.path.abspath(location)).rstrip("/").rpartition("/")
    if remote and not is_remote(folder):  # a bucket
        return []
    return _list_split(folder, split, access) or _list_split(f"{folder}/{_DATA}", split, access)


def _list_split(folder: str, split: str, access: Access) -> list[str]:
    return [f"{folder}/{name}" for name in sorted(_list_names(folder, access)) if get_split(name) == split]


def _list_names(folder: str, access: Access) -> list[str]:
    """Return the names of the files in a folder; none if it cannot be listed."""
    if not is_remote(folder):
        return os.listdir(folder) if os.path.isdir(folder) else []
    start = f"{folder}/"
    try:
        refs = get_remote_source(folder).list_below(folder, lambda ref: "/" not in ref.uri[len(start) :], access)
        return [ref.uri[len(start) :] for ref in refs]
    except InputError:
        return []
