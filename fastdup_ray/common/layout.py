"""Every file name and CSV header of a work_dir, once."""

import re
from dataclasses import dataclass

FORMAT_VERSION = 1

FEATURES = "features.dat"
FEATURES_CSV = "features.dat.csv"
BAD_CSV = "features.bad.csv"
BAD_CSV_TWIN = "features.dat.bad"
SIMILARITY_CSV = "similarity.csv"
OUTLIERS_CSV = "outliers.csv"
FAISS_INDEX = "faiss.index"
COMPONENTS_INFO_CSV = "components_info.csv"
COMPONENTS_CSV = "connected_components.csv"
MANIFEST = "manifest.parquet"
IMAGES = "images.parquet"
SIMILARITY = "similarity.parquet"
COMPONENTS = "components.parquet"
CONFIG = "config.json"
SUMMARY = "summary.json"
REPORT = "report/index.html"

EXACT_COPIES_CSV = "exact_copies.csv"
"""Each picture with the same bytes or the same pixels as another, which is named: the first of them. After a scoring,
test_exact_copies.csv has the new pictures with such an indexed one."""

LABEL_CONFLICTS_CSV = "label_conflicts.csv"

CHANGES_CSV = "changes.csv"

INVARIANT_CSV = "similarity_invariant.csv"
"""Pairs of pictures of which one is mirrored or turned."""

TRAIN_SIMILARITY_CSV = "train_similarity.csv"
TRAIN_SIMILARITY = "train_similarity.parquet"
TRAIN_BACKUP = {SIMILARITY_CSV: TRAIN_SIMILARITY_CSV, SIMILARITY: TRAIN_SIMILARITY}
"""What a scoring writes in the place of the indexed set's -> the name under which that is kept."""

LEAKAGE_CSV = "leakage.csv"

PLAN_CSV = "plan.csv"
"""What people decide to keep and to drop, for `apply`; no run takes it away."""

QUARANTINE = "fastdup_quarantine"
"""The folder, in the current one, that `apply` moves to."""
MOVED = "files"
JOURNALS = "journal"
QUARANTINE_MARK = "fastdup_quarantine.txt"
"""In a quarantine: what was moved, each under its whole path; what was to be moved where; a file that says what the
folder is, by which `inputs` knows to leave it out."""

SHARDS = "shards"
EARLIER = f"{SHARDS}/earlier.json"
"""Says that what the last finished run found was put aside, to be compared with what this one finds."""

MERGED = f"{SHARDS}/merged.json"
MERGED_MANIFEST = f"{SHARDS}/manifest.parquet"
"""Describe features.dat while a merge is put in place; then summary.json and manifest.parquet do."""

PARTITIONS = f"{SHARDS}/partitions"
"""Cells of a partitioned search, and what was found in them."""

SEARCH = f"{SHARDS}/search"
"""What a search by one index has found so far."""

NEIGHBORS = f"{SHARDS}/neighbors"
"""What the search found, from its end to that of the run."""


def earlier_name(name: str) -> str:
    """Where a file of the last finished run is put aside."""
    return f"{SHARDS}/earlier/{name}"


@dataclass(frozen=True)
class FileSet:
    """The files that tell of one set of pictures: the indexed one, or the one that was scored against it last."""

    prefix: str

    def name(self, name: str) -> str:
        """The file of this set that is `name` for the indexed one."""
        return self.prefix + name


INDEXED = FileSet("")
SCORED = FileSet("test_")
FILE_SETS = (INDEXED, SCORED)

TRANSFORMED = FileSet("turned_")
"""Features alone: a row has those of all turns of an indexed picture, side by side."""

LOCK = ".fastdup_ray.lock"
"""Who is writing to the work_dir."""

FEATURES_HEADER = ("index", "filename")
BAD_HEADER = ("filename", "error_code", "message")
PAIRS_HEADER = ("from", "to", "distance")
INVARIANT_HEADER = (*PAIRS_HEADER, "turn")
EXACT_COPIES_HEADER = ("filename", "copy_of", "kind")
LABEL_CONFLICTS_HEADER = (*PAIRS_HEADER, "label_from", "label_to")
CHANGES_HEADER = ("change", "component_id", "from", "to", "distance")
LEAKAGE_HEADER = ("test", "train", "similarity", "copy")
PLAN_HEADER = (
    *("filename", "action", "group", "keeper", "similarity", "rule", "reason"),
    *("size", "sha256", "etag", "reference", "run"),
)
PLAN_JSON_FORMAT = "fastdup-ray plan 1"
BY_HAND = "user"
"""The rule of a decision that a person made."""

COMPONENTS_INFO_HEADER = ("component_id", "count", "mean", "min", "max")
TEXT_COLUMNS = frozenset(["message", "label", "label_from", "label_to", "rule", "reason", "etag"])
"""Columns of CSV files, ours and such as people write, with text of others that is no name; see `formulas`."""
COMPONENTS_HEADER = ("__id", "component_id", "pagerank", "degree", "count", "min_distance")

DUPLICATES_HTML = "duplicates.html"
OUTLIERS_HTML = "outliers.html"
COMPONENTS_HTML = "components.html"


_OUTPUTS = frozenset(
    [
        *(FEATURES, FEATURES_CSV, BAD_CSV, BAD_CSV_TWIN, SIMILARITY_CSV, OUTLIERS_CSV, FAISS_INDEX),
        *(
            COMPONENTS_INFO_CSV,
            COMPONENTS_CSV,
            MANIFEST,
            IMAGES,
            SIMILARITY,
            COMPONENTS,
            CONFIG,
            SUMMARY,
            REPORT,
            EXACT_COPIES_CSV,
        ),
        *(LABEL_CONFLICTS_CSV, CHANGES_CSV, INVARIANT_CSV, TRAIN_SIMILARITY_CSV, TRAIN_SIMILARITY, LEAKAGE_CSV),
        *(PLAN_CSV, DUPLICATES_HTML, OUTLIERS_HTML, COMPONENTS_HTML, "fiftyone.json", "keep.txt", "drop.txt"),
    ]
)


def is_output(name: str) -> bool:
    """Whether `name`, from the work_dir on, is a file, or the folder of shards, that runs and commands write."""
    for files in (*FILE_SETS, TRANSFORMED):
        own = name.removeprefix(files.prefix)
        if own in _OUTPUTS or own.split("/")[0] == SHARDS:
            return True
    return parse_range(name) is not None


_IN_SHARDS = {
    path.split("/")[1] for path in (EARLIER, MERGED, MERGED_MANIFEST, PARTITIONS, SEARCH, NEIGHBORS, earlier_name(""))
}


def is_in_shards(name: str) -> bool:
    """Whether `name`, from the work_dir on, is a file that runs write into a folder of shards."""
    own = name.split("/")[1]
    return own in _IN_SHARDS or own.startswith(".") or parse_range(own) is not None


_RANGE = re.compile(r"features-(\d{12,})-(\d{12,})\b[^/]*")


def format_range_stem(start: int, stop: int) -> str:
    """The name, without its suffix, of the feature shard of list entries [start, stop)."""
    return f"features-{start:012d}-{stop:012d}"


def parse_range(name: str) -> tuple[int, int] | None:
    """The range of list entries that a file of a feature shard is of; None for any other file."""
    match = _RANGE.fullmatch(name.rpartition("/")[2])
    return (int(match[1]), int(match[2])) if match else None
