"""Features in files: written whole, verified when read, found again entry by entry, merged.

A *feature set* is a file of float32 rows, and a table (`manifest.ENTRIES`) that says which entry of the list has which
rows. What one extractor writes is a set of four files under one stem, a *feature shard*; a range of run mode 1 is the
same thing, larger; features.dat and manifest.parquet of a whole run are a set too. So resuming, growing and merging
are one thing: looking up entries in the sets that are there.
"""

from fastdup_ray.features.files import (
    FeatureSet,
    check_finite,
    dimensions,
    entries_of_rows,
    load_binary,
    load_binary_feature,
    load_binary_features,
    map_features,
    map_names,
    open_complete,
    open_merged,
    open_shard,
    read_names,
    save_binary_feature,
    write_bad,
    write_names,
    write_rows,
    write_shard,
)
from fastdup_ray.features.merge import (
    merge,
    merge_range,
    merge_ranges,
    of_stems,
    open_ranges,
    ranges_as_one,
    row_blocks,
)
from fastdup_ray.features.reuse import Found, earlier_sets, find_missing, look_up, whole_shards
from fastdup_ray.features.stored_rows import LostRowsError, StoredRows

__all__ = [
    "FeatureSet",
    "Found",
    "LostRowsError",
    "StoredRows",
    "check_finite",
    "dimensions",
    "earlier_sets",
    "entries_of_rows",
    "find_missing",
    "load_binary",
    "load_binary_feature",
    "load_binary_features",
    "look_up",
    "map_features",
    "map_names",
    "merge",
    "merge_range",
    "merge_ranges",
    "of_stems",
    "open_complete",
    "open_merged",
    "open_ranges",
    "open_shard",
    "ranges_as_one",
    "read_names",
    "row_blocks",
    "save_binary_feature",
    "whole_shards",
    "write_bad",
    "write_names",
    "write_rows",
    "write_shard",
]
