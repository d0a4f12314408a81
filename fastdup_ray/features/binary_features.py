"""Embeddings of the user's own: load them with their names, or save them for run mode 2."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from fastdup_ray.common import csv_columns, layout
from fastdup_ray.common.access import DEFAULT_ACCESS, Access
from fastdup_ray.common.arrays import EmbeddingArray, FloatArray
from fastdup_ray.common.paths import accept_paths
from fastdup_ray.errors import DamagedError, MissingFileError, WorkDirError
from fastdup_ray.features.files import write_embedding_blocks
from fastdup_ray.features.names import map_names
from fastdup_ray.features.parts import remove_other_features
from fastdup_ray.storage import open_store
from fastdup_ray.storage.csv_files import write_columns
from fastdup_ray.storage.feature_rows import locate_features, map_features, open_features, open_parts
from fastdup_ray.storage.named_output import NamedOutput
from fastdup_ray.storage.tables import encode_names


def infer_dimensions(path: Path, n: int) -> int:
    """Infer the width of the embeddings in a features file from its size.

    Args:
        path: The features file.
        n: Number of embeddings, from its CSV file.

    Returns:
        The width d; 0 if there are no embeddings.

    Raises:
        DamagedError: The size is not a multiple of n float32 values.
    """
    size = path.stat().st_size
    if n == 0 and size == 0:
        return 0
    if n == 0 or size == 0 or size % (4 * n):
        raise DamagedError(f"{path} is damaged: its {size:,} bytes do not fit the {n:,} names in {path.name}.csv.")
    return size // (4 * n)


@accept_paths("filename")
def load_binary_feature(filename: str | os.PathLike[str] = layout.FEATURES) -> tuple[list[str], FloatArray]:
    """Load the embeddings of a features file and their names.

    Args:
        filename: Path or URI of the features file, or of the folder with features.dat. The names are read from the CSV
            file beside it, `<filename>.csv`; the width d follows from the size of the file and the number of names.
            Of a run with so many images that their embeddings are in parts, these are read.

    Returns:
        n names, and the embeddings as (n, d) float32.

    Raises:
        FileNotFoundError: One of the two files is missing.
        DamagedError: The two files do not fit each other.
    """
    return read_features(filename, DEFAULT_ACCESS)


def read_features(location: str | os.PathLike[str], access: Access) -> tuple[list[str], np.ndarray]:
    """Return the names and the embeddings of a features file, as `load_binary_feature` does."""
    names, embeddings = map_named_features(location, access)
    return [os.fsdecode(name) for name in names.to_pylist()], np.array(embeddings[:])


def map_named_features(location: str | os.PathLike[str], access: Access) -> tuple[pa.Array, EmbeddingArray]:
    """Return the same, (n,) raw names and (n, d) float32, mapped from files."""
    store, file = open_features(location, access)
    source = locate_features(store, file)
    for needed in (source, file + ".csv"):
        if not store.is_file(needed):
            path_or_uri = os.path.join(store.location, needed)
            raise MissingFileError(f"{path_or_uri} does not exist; name the features file of a finished run.")
    names, path = map_names(store, file + ".csv"), store.fetch(source)
    if source == file:
        d = infer_dimensions(path, len(names))
        return names, map_features(store, file, d) if d else np.empty((len(names), 0), np.float32)
    parts = open_parts(store, source, check=True)
    if len(parts) != len(names):
        raise DamagedError(f"{path} is damaged: its {len(parts):,} embeddings do not fit the {len(names):,} names.")
    return names, parts


load_binary = load_binary_features = load_binary_feature  # the specification has all three names


@accept_paths("save_path")
def save_binary_feature(
    save_path: str | os.PathLike[str],
    filenames: Sequence[str],
    features: npt.ArrayLike,
    overwrite: bool = False,  # noqa: FBT001, FBT002 (public API: may be given by position)
) -> None:
    """Save your own embeddings to a folder, for run mode 2.

    Args:
        save_path: Folder or URI; features.dat and features.dat.csv are written to it.
        filenames: n names, one for each embedding.
        features: (n, d) embeddings; stored as float32.
        overwrite: Replace the results of a run, or other files with these names. Features of an earlier call are
            replaced in any case.

    Raises:
        WorkDirError: The folder has results of a run or other files with these names, or cannot be written.
        ValueError: The number of names and embeddings differs.
    """
    features = np.asarray(features)
    if features.ndim != 2 or len(features) != len(filenames):
        raise ValueError(f"features must have the shape ({len(filenames)}, d), one row per name, not {features.shape}.")
    store = open_store(save_path)
    described = (layout.SUMMARY, layout.MANIFEST)  # they describe the features that are replaced
    if not overwrite and any(map(store.exists, described)):
        raise WorkDirError(
            f"{store.location!r} has the results of a run; choose another folder, or replace them with overwrite=True."
        )
    both = layout.FEATURES, layout.FEATURES_CSV
    overwrite = overwrite or all(map(store.is_file, both))
    embeddings, names = (NamedOutput(os.path.join(store.location, name), overwrite=overwrite) for name in both)
    with embeddings.open() as file, names.open() as names_file:  # both are written before the first is replaced
        write_embedding_blocks(file, [features])
        write_columns(names_file, csv_columns.FEATURES_HEADER, [np.arange(len(filenames)), encode_names(filenames)])
    for name in described:
        store.remove(name)
    remove_other_features(store, layout.INDEXED, None)
