"""Which images come from a `--reference` input: those are never dropped."""

import os
from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fastdup_ray.common.access import DEFAULT_ACCESS, Access
from fastdup_ray.common.arrays import BoolArray
from fastdup_ray.common.locations import to_absolute
from fastdup_ray.inputs import inventory, list_file
from fastdup_ray.inputs.hugging_face import is_hub_name, list_hub_files
from fastdup_ray.inputs.sources import is_file
from fastdup_ray.inputs.splits import find_split
from fastdup_ray.inputs.suffixes import is_archive_name, is_video_name
from fastdup_ray.inputs.table_rows import read_paths
from fastdup_ray.inputs.tables import is_table
from fastdup_ray.storage.tables import encode_names

Names: TypeAlias = pa.Array | pa.ChunkedArray
"""(n,) paths and URIs as raw bytes."""


def reference_mask(locations: Sequence[str], *names: Names, access: Access = DEFAULT_ACCESS) -> BoolArray:
    """Return which images come from the inputs `locations`.

    Args:
        locations: the reference inputs, as the user named them.
        names: one or more arrays (n,): the names of the images, and those of the videos that they are frames of. An
            image counts if one of its names does.
        access: how buckets are accessed.

    Returns:
        (n,) bool.
    """
    mask = np.zeros(len(names[0]), bool)
    for location in locations:
        for part in list_hub_files(location) if is_hub_name(location) else [to_absolute(location)]:
            for of_images in names:
                mask |= _mask_of(part, of_images, access)
    return mask


def _mask_of(location: str, names: Names, access: Access) -> BoolArray:
    if inventory.is_inventory(location, access):
        _, refs = inventory.list_inventory(location, access)
        return _to_numpy(pc.is_in(names, encode_names(ref.uri for ref in refs).cast(names.type)))
    is_rows = is_table(location, access)
    if is_rows and (paths := read_paths(location, access)) is not None:
        return _to_numpy(pc.is_in(names, encode_names(paths).cast(names.type)))
    is_list = is_file(location, access) and not is_rows
    if is_list and not is_archive_name(location) and not is_video_name(location):
        with list_file.open_list(location, access) as entries:
            if entries is not None:
                return _to_numpy(pc.is_in(names, encode_names(entries.names()).cast(names.type)))
    mask = _mask_below(location.rstrip("/"), names)
    if not mask.any():
        mask = np.logical_or.reduce([mask, *(_mask_below(file, names) for file in find_split(location, access))])
    return mask


def _mask_below(folder: str, names: Names) -> BoolArray:
    """Return which images are a file, or in it, or below it if it is a folder."""
    itself = pc.is_in(names, encode_names([folder]).cast(names.type))
    below = [pc.starts_with(names, pattern=os.fsencode(folder + separator)) for separator in ("/", "!/")]
    mask: BoolArray = np.logical_or.reduce([_to_numpy(part) for part in (itself, *below)])
    return mask


def _to_numpy(mask: Names) -> BoolArray:
    array: BoolArray = pc.fill_null(mask, False).to_numpy(zero_copy_only=False)  # noqa: FBT003 (a value)
    return array
