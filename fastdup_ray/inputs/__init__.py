"""Inputs: from what the user named to a list of entries (`ImageRef`), and from an entry to its bytes."""

import importlib.util
import os
from collections.abc import Iterable, Iterator
from itertools import chain, groupby
from typing import TYPE_CHECKING

import pyarrow as pa

from fastdup_ray.common.access import Access
from fastdup_ray.common.locations import is_remote, to_absolute
from fastdup_ray.common.records import ImageRef
from fastdup_ray.common.ref_tables import iter_refs, make_ref_tables
from fastdup_ray.common.seen import SeenKeys, SeenNames
from fastdup_ray.config import INPUT_KINDS, RunConfig
from fastdup_ray.errors import InputError
from fastdup_ray.inputs import archive, bucket, folder, inventory, list_file
from fastdup_ray.inputs.file_source import get_remote_source
from fastdup_ray.inputs.globs import Patterns
from fastdup_ray.inputs.hugging_face import is_hub_name, list_hub_files
from fastdup_ray.inputs.skipped import SkippedFiles, describe_skipped
from fastdup_ray.inputs.sources import (
    Part,
    ReadEntry,
    find_box,
    find_boxes,
    find_part,
    find_standalone,
    get_box,
    get_source,
    is_standalone_file,
    make_reader,
    open_entry,
    read_entry,
    stat,
)
from fastdup_ray.inputs.splits import find_split
from fastdup_ray.inputs.suffixes import is_archive_name, is_image_name, is_video_name
from fastdup_ray.inputs.table_rows import list_rows, read_paths
from fastdup_ray.inputs.tables import is_table
from fastdup_ray.storage.feature_rows import has_features, open_features

if TYPE_CHECKING:
    from fastdup_ray.inputs.annotations import Annotations

__all__ = [
    "Part",
    "ReadEntry",
    "SkippedFiles",
    "check_inputs",
    "describe_skipped",
    "find_box",
    "find_boxes",
    "find_part",
    "find_standalone",
    "get_annotations",
    "get_box",
    "get_source",
    "is_standalone_file",
    "list_images",
    "list_tables",
    "make_reader",
    "open_entry",
    "read_entry",
    "stat",
]


def list_images(config: RunConfig, skipped: SkippedFiles | None = None) -> Iterator[ImageRef]:
    """List the entries of all inputs, one by one; see `list_tables`."""
    return chain.from_iterable(map(iter_refs, list_tables(config, skipped)))


def list_tables(config: RunConfig, skipped: SkippedFiles | None = None) -> Iterator[pa.Table]:
    """List the entries of all inputs.

    Args:
        config: names the inputs and what is selected from them.
        skipped: counts the files that are left out because of their suffix.

    Yields:
        Tables `common.ref_tables.REFS` of any size, with the entries in order, each once.

    Raises:
        InputError: where an input cannot be listed, or has nothing but videos and PyAV is not installed.
    """
    patterns, skipped = Patterns(config.include, config.exclude), skipped or SkippedFiles()
    tables = _drop_repeats(_list_all(config, patterns, skipped))
    if config.num_images > 0:
        tables = _take_first(tables, config.num_images)
    return tables if importlib.util.find_spec("av") else _refuse_only_videos(tables, config.s3_access)


def check_inputs(config: RunConfig) -> None:
    """Check the inputs before any work.

    Raises:
        InputError: where an input does not exist.
        ConfigError: where a pattern is not valid.
    """
    Patterns(config.include, config.exclude)
    access, inputs = config.s3_access, config.inputs
    for location in inputs:
        if _is_image_of_many(location, len(inputs)):
            continue  # if it does not exist, it is a bad image
        if config.run_mode == 4 and location.endswith(".dat") and has_features(*open_features(location, access)):
            continue  # there is no file of this name if its embeddings are in parts
        if is_hub_name(location):
            list_hub_files(location)
        elif is_remote(location):
            if not (source := get_remote_source(location)).is_file(location, access):
                source.check_listing(location, access)
        elif not _exists(location, access):
            raise InputError(f"Input {location!r} does not exist; name {INPUT_KINDS}.")
    if (annotations := get_annotations(config)) is not None:
        annotations.check()
    for location in config.reference:
        if list_file.is_pipe(location):
            raise InputError(f"Reference {location!r} is a pipe, which can be read only once: save the list as a file.")


def _exists(location: str, access: Access) -> bool:
    """Return whether an input on disk exists: a file or folder, an image in a file, or a split of a dataset."""
    return (
        os.path.exists(location)
        or bool(stat(os.path.abspath(location), access).mtime_or_etag)
        or bool(find_split(location, access))
    )


def _is_image_of_many(location: str, count: int) -> bool:
    """Return whether one of several inputs is an image by its name: it is not opened to see what it holds."""
    return count > 1 and is_image_name(location) and (is_remote(location) or not os.path.isdir(location))


def _list_all(config: RunConfig, patterns: Patterns, skipped: SkippedFiles) -> Iterator[pa.Table]:
    # With annotations, input_dir is where their photos are: it is not listed.
    inputs = config.reference if config.annotations else config.inputs
    seen = SeenKeys()  # a folder may be reached again by a link, or as a part of another input
    for are_images, locations in groupby(inputs, lambda location: _is_image_of_many(location, len(inputs))):
        if are_images:
            names = filter(patterns.keep, map(to_absolute, locations))
            yield from make_ref_tables(list_file.stat_names(names, skipped, config.s3_access))
        else:
            for location in locations:
                yield from _list_one(location, config, patterns, skipped, seen)
    if (annotations := get_annotations(config)) is not None:
        yield from make_ref_tables(annotations.list_boxes(patterns.keep))


def get_annotations(config: RunConfig) -> "Annotations | None":
    """Return the annotations of a run; None if it has none."""
    if config.annotations is None:
        return None
    from fastdup_ray.inputs.annotations import Annotations  # late: few runs have annotations

    assert isinstance(config.input_dir, str)  # as RunConfig checks
    return Annotations(config.annotations, config.input_dir, config.s3_access)


def _list_one(
    location: str, config: RunConfig, patterns: Patterns, skipped: SkippedFiles, seen: SeenKeys
) -> Iterator[pa.Table]:
    is_folder = not is_remote(location) and os.path.isdir(location)
    if is_hub_name(location):
        for file in list_hub_files(location):
            yield from _list_one(file, config, patterns, skipped, seen)
    elif is_folder and not is_table(os.path.abspath(location), config.s3_access):
        yield from folder.walk(location, config.work_dir, patterns, skipped, seen)
    else:
        yield from make_ref_tables(_list_refs(location, config, patterns, skipped))


def _list_refs(location: str, config: RunConfig, patterns: Patterns, skipped: SkippedFiles) -> Iterator[ImageRef]:
    """List an input that is no folder."""
    work_dir, access, remote = config.work_dir, config.s3_access, is_remote(location)
    uri = location if remote else os.path.abspath(location)
    if is_table(uri, access):
        paths = read_paths(uri, access)
        rows = list_rows(uri, access) if paths is None else list_file.stat_names(paths, skipped, access)
        yield from (ref for ref in rows if patterns.keep(ref.uri))
    elif remote and not get_remote_source(uri).is_file(uri, access):
        refs = bucket.walk(uri, work_dir, patterns, skipped, access)
        if (first := next(refs, None)) is not None:
            yield first
            yield from refs
        else:
            yield from _list_files(find_split(uri, access), patterns, access)
    elif is_archive_name(uri):
        yield from (ref for ref in archive.list_members(uri, skipped, access) if patterns.keep(ref.uri))
    elif inventory.is_inventory(uri, access):
        yield from bucket.walk_inventory(uri, work_dir, patterns, skipped, access)
    elif (remote or os.path.exists(location)) and not is_video_name(uri):
        with list_file.open_list(location, access) as entries:
            if entries is not None:
                yield from (ref for ref in entries.refs(skipped) if patterns.keep(ref.uri))
            elif patterns.keep(uri):
                yield stat(uri, access)
    elif not remote and (files := find_split(uri, access)):
        yield from _list_files(files, patterns, access)
    elif patterns.keep(uri):
        yield stat(uri, access)


def _list_files(files: Iterable[str], patterns: Patterns, access: Access) -> Iterator[ImageRef]:
    """List the rows of the files of a split."""
    for file in files:
        yield from (ref for ref in list_rows(file, access) if patterns.keep(ref.uri))


def _drop_repeats(tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    seen = SeenNames()
    for table in tables:
        is_new = seen.add(table["uri"].to_pylist())
        yield table if is_new.all() else table.filter(pa.array(is_new))


def _take_first(tables: Iterable[pa.Table], count: int) -> Iterator[pa.Table]:
    for table in tables:
        yield table.slice(0, count)
        count -= len(table)
        if count <= 0:
            return


def _refuse_only_videos(tables: Iterable[pa.Table], access: Access) -> Iterator[pa.Table]:
    name, only_videos = "", True
    for table in tables:
        names = (os.fsdecode(uri.as_py()) for chunk in table["uri"].chunks for uri in chunk) if only_videos else ()
        for name in names:
            only_videos = only_videos and is_video_name(find_part(name, access).file)
        yield table
    if name and only_videos:
        raise InputError(f"All inputs are videos, such as {name!r}: to read them, pip install 'fastdup-ray[video]'.")
