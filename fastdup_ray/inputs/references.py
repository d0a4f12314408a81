"""Which pictures come from a `--reference` input: those that are never to be given up."""

import os
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fastdup_ray import s3
from fastdup_ray.inputs import inventory, list_file
from fastdup_ray.inputs.sources import is_file
from fastdup_ray.inputs.suffixes import is_archive_name, is_video_name
from fastdup_ray.s3 import DEFAULT_ACCESS, Access
from fastdup_ray.storage.tables import encode_names

Names = pa.Array | pa.ChunkedArray
"""(n,) paths and URIs as raw bytes."""


def reference_mask(locations: Sequence[str], *names: Names, access: Access = DEFAULT_ACCESS) -> np.ndarray:
    """(n,) bool: whether one of the `names` of each picture (its own, or that of its video) is of those inputs."""
    found = np.zeros(len(names[0]), bool)
    for location in locations:
        for known in names:
            found |= _mask_of(s3.to_absolute(location), known, access)
    return found


def _mask_of(location: str, names: Names, access: Access) -> np.ndarray:
    if inventory.is_inventory(location, access):
        return _to_numpy(
            pc.is_in(
                names, encode_names(ref.uri for ref in inventory.list_inventory(location, access)[1]).cast(names.type)
            )
        )
    if is_file(location, access) and not is_archive_name(location) and not is_video_name(location):
        with list_file.open_list(location, access) as listed:
            if listed is not None:
                return _to_numpy(pc.is_in(names, encode_names(listed.names()).cast(names.type)))
    place = location.rstrip("/")
    itself = pc.is_in(names, encode_names([place]).cast(names.type))
    below = [pc.starts_with(names, pattern=os.fsencode(place + separator)) for separator in ("/", "!/")]
    return np.logical_or.reduce([_to_numpy(answers) for answers in (itself, *below)])


def _to_numpy(answers: pa.Array | pa.ChunkedArray) -> np.ndarray:
    return pc.fill_null(answers, False).to_numpy(zero_copy_only=False)
