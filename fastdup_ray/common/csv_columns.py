"""The columns of every CSV file that is written, in order. Column types of Parquet files: `outputs.formats`."""

FEATURES_HEADER = ("index", "filename")
BAD_HEADER = ("filename", "error_code", "message")
PAIRS_HEADER = ("from", "to", "distance")
INVARIANT_HEADER = (*PAIRS_HEADER, "turn")
VERIFIED_HEADER = (*PAIRS_HEADER, "relation", "cover_from", "cover_to", "difference")
EXACT_COPIES_HEADER = ("filename", "copy_of", "kind")
LABEL_CONFLICTS_HEADER = (*PAIRS_HEADER, "label_from", "label_to")
CHANGES_HEADER = ("change", "component_id", "from", "to", "distance")
CLUSTERS_HEADER = ("filename", "cluster", "similarity", "label", "cluster_label")
SPLIT_HEADER = ("filename", "split")
LEAKAGE_HEADER = ("test", "train", "similarity", "copy")
PLAN_HEADER = (
    *("filename", "action", "group", "keeper", "similarity", "rule", "reason"),
    *("size", "sha256", "etag", "reference", "run"),
)
COMPONENTS_INFO_HEADER = ("component_id", "count", "mean", "min", "max")
COMPONENTS_HEADER = ("__id", "component_id", "pagerank", "degree", "count", "min_distance")

BY_HAND = "user"
"""Value of the column `rule` for decisions that a person made."""

TEXT_COLUMNS = frozenset(["message", "label", "label_from", "label_to", "cluster_label", "rule", "reason", "etag"])
"""Columns of CSV files with text, other than names, that comes from elsewhere; see `common.formulas`."""
