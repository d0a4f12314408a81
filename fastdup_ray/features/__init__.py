"""Embeddings in files: write, verify, look up entry by entry, merge.

A *feature set* is a file of float32 embeddings and a table (`inputs.manifest.ENTRIES`) that says which entry of the
list has which embeddings. There are three kinds:

- a *feature shard*: the file that one extract actor writes;
- a range of run mode 1: four files with a common stem;
- features.dat, or the parts below features.parts, and manifest.parquet of a whole run.

So resuming a run, adding images and merging ranges are one operation: look up entries in the sets of a work_dir.
"""

from fastdup_ray.features.binary_features import (
    infer_dimensions,
    load_binary,
    load_binary_feature,
    load_binary_features,
    map_named_features,
    read_features,
    save_binary_feature,
)
from fastdup_ray.features.embedding_blocks import iter_embedding_blocks
from fastdup_ray.features.files import (
    EntrySet,
    FeatureSet,
    check_finite,
    check_parts,
    open_complete,
    open_merged,
    open_range,
    read_complete_entries,
    read_unit_rows,
    write_embeddings,
    write_range,
)
from fastdup_ray.features.fingerprints import find_difference
from fastdup_ray.features.lookup import LookupResult
from fastdup_ray.features.merge import (
    combine_ranges,
    combine_shards,
    merge_range,
    merge_ranges,
    merge_sets,
    open_ranges,
)
from fastdup_ray.features.names import (
    expand_entries,
    find_images,
    find_names,
    map_names,
    read_names,
    write_bad,
    write_names,
)
from fastdup_ray.features.reuse import (
    find_missing,
    find_not_reusable,
    lookup_entries,
    open_earlier_sets,
    open_whole_shards,
    read_earlier_entries,
    share_names,
)
from fastdup_ray.features.shard_file import open_shard, write_shard
from fastdup_ray.features.stored_embeddings import LostEmbeddingsError, StoredEmbeddings, StoredParts
from fastdup_ray.features.unlisted import keep_unlisted

__all__ = [
    "EntrySet",
    "FeatureSet",
    "LookupResult",
    "LostEmbeddingsError",
    "StoredEmbeddings",
    "StoredParts",
    "check_finite",
    "check_parts",
    "combine_ranges",
    "combine_shards",
    "expand_entries",
    "find_difference",
    "find_images",
    "find_missing",
    "find_names",
    "find_not_reusable",
    "infer_dimensions",
    "iter_embedding_blocks",
    "keep_unlisted",
    "load_binary",
    "load_binary_feature",
    "load_binary_features",
    "lookup_entries",
    "map_named_features",
    "map_names",
    "merge_range",
    "merge_ranges",
    "merge_sets",
    "open_complete",
    "open_earlier_sets",
    "open_merged",
    "open_range",
    "open_ranges",
    "open_shard",
    "open_whole_shards",
    "read_complete_entries",
    "read_earlier_entries",
    "read_features",
    "read_names",
    "read_unit_rows",
    "save_binary_feature",
    "share_names",
    "write_bad",
    "write_embeddings",
    "write_names",
    "write_range",
    "write_shard",
]
