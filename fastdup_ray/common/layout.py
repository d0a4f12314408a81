"""All file names and CSV headers of a work_dir."""

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

FEATURE_PARTS = "features.parts"
FEATURES_INDEX = "features.parts/index.parquet"
"""Take the place of features.dat if there are more embeddings than `largest_features_file`: a folder of parts, which
are never changed, and in it the index that says where each embedding is."""

VERIFIED = "verified_pairs.parquet"
"""The verified pairs: how images are related, and the evidence."""

VERIFIED_CSV = "verified_pairs.csv"
"""Of these, the pairs that are not above the threshold and show the same."""

EXACT_COPIES_CSV = "exact_copies.csv"
"""Each image with the same bytes or pixels as an earlier one, and the first such image. After a scoring,
test_exact_copies.csv has the new images that are exact duplicates of indexed ones."""

LABEL_CONFLICTS_CSV = "label_conflicts.csv"

CHANGES_CSV = "changes.csv"

INVARIANT_CSV = "similarity_invariant.csv"
"""Pairs of images of which one is mirrored or rotated."""

TRAIN_SIMILARITY_CSV = "train_similarity.csv"
TRAIN_SIMILARITY = "train_similarity.parquet"
TRAIN_BACKUP = {SIMILARITY_CSV: TRAIN_SIMILARITY_CSV, SIMILARITY: TRAIN_SIMILARITY}
"""Files that a scoring replaces -> the name under which the file of the indexed set is kept."""

LEAKAGE_CSV = "leakage.csv"

SPLIT_CSV = "split.csv"
"""Which part of a dataset each image is in: training, validation, test."""

CLUSTERS_CSV = "clusters.csv"
"""Which cluster each image is in. Runs never remove it."""

SUBSET_TXT = "subset.txt"
"""The most diverse images of a run."""

PLAN_CSV = "plan.csv"
"""Which images to keep and to drop, for `apply`. Runs never remove it."""

QUARANTINE = "fastdup_quarantine"
"""Default folder, in the current one, that `apply` moves images to."""
MOVED = "files"
JOURNALS = "journal"
QUARANTINE_MARK = "fastdup_quarantine.txt"
"""In a quarantine: the folder of moved files, each under its full path; the folder of journals, which say what went
where; and a file that explains the folder, and makes `inputs` skip it."""

SHARDS = "shards"
SHARD = ".shard"
"""Suffix of a feature shard. A range of run mode 1 has four files instead."""

UNLISTED = "unlisted"
"""Embeddings of images that left the list, such as those in a quarantine, as a feature shard."""

LIST = f"{SHARDS}/list"
"""Parts of the list, in a folder for each run."""

EARLIER = f"{SHARDS}/earlier.json"
"""Exists while outputs of the last finished run are set aside, to be compared with those of this run."""

MERGED = f"{SHARDS}/merged.json"
MERGED_MANIFEST = f"{SHARDS}/manifest.parquet"
"""Describe features.dat from the merge to the end of the run; then summary.json and manifest.parquet do."""

PARTITIONS = f"{SHARDS}/partitions"
"""Cells of a partitioned search, and their results."""

SEARCH = f"{SHARDS}/search"
"""Results so far of a search with one index."""

VERIFY = f"{SHARDS}/verify"
"""Pieces of the pairs to verify, and their answers."""

NEIGHBORS = f"{SHARDS}/neighbors"
"""Results of the search, until the run is finished."""

KEPT_NEIGHBORS = "neighbors.json"
KEPT_ARRAYS = {name: f"neighbors.{name}.npy" for name in ("indices", "distance", "similarity")}
"""Results of a search that are kept for the next run: what they are of, and the arrays."""

KEPT_DIGESTS = "neighbors.digests.npy"
KEPT_CENTERS = "neighbors.centers.zip"
"""What is kept beside them of a partitioned search, so that a later one can update them: the digest of each embedding,
and the centers of the cells."""

KEPT_FILES = (*KEPT_ARRAYS.values(), KEPT_DIGESTS, KEPT_CENTERS)
"""All files of kept neighbors, besides the record."""


def earlier_name(name: str) -> str:
    """Return the name under which a file of the last finished run is set aside."""
    return f"{SHARDS}/earlier/{name}"


@dataclass(frozen=True)
class FileSet:
    """The files of one set of images: the indexed set, or the set that was scored against it last.

    Attributes:
        prefix: How their names begin.
    """

    prefix: str

    def name(self, name: str) -> str:
        """Return the name in this set of the file that the indexed set has under `name`."""
        return self.prefix + name


INDEXED = FileSet("")
SCORED = FileSet("test_")
FILE_SETS = (INDEXED, SCORED)

TRANSFORMED = FileSet("turned_")
"""Has features only: a row is the concatenated embeddings of all transforms of an indexed image."""


def locate_index(features: str) -> str:
    """Return the name of the index beside a features file, if its embeddings are in parts."""
    return f"{features.removesuffix('.dat')}.parts/index.parquet"


LOCK = ".fastdup_ray.lock"
"""Record of the lock on the work_dir."""

PLAN_JSON_FORMAT = "fastdup-ray plan 1"

DUPLICATES_HTML = "duplicates.html"
OUTLIERS_HTML = "outliers.html"
COMPONENTS_HTML = "components.html"
SIMILARITY_HTML = "similarity.html"
MAP_HTML = "map.html"
CLUSTERS_HTML = "clusters.html"
STATISTICS_HTML = tuple(f"{metric}.html" for metric in ("blur", "dark", "bright", "contrast", "colors", "size"))


_OUTPUTS = frozenset(
    [
        *(FEATURES, FEATURES_CSV, BAD_CSV, BAD_CSV_TWIN, SIMILARITY_CSV, OUTLIERS_CSV, FAISS_INDEX),
        *(COMPONENTS_INFO_CSV, COMPONENTS_CSV, MANIFEST, IMAGES, SIMILARITY, COMPONENTS, CONFIG, SUMMARY, REPORT),
        *(EXACT_COPIES_CSV, LABEL_CONFLICTS_CSV, CHANGES_CSV, INVARIANT_CSV, LEAKAGE_CSV),
        *(TRAIN_SIMILARITY_CSV, TRAIN_SIMILARITY, VERIFIED, VERIFIED_CSV),
        *(PLAN_CSV, DUPLICATES_HTML, OUTLIERS_HTML, COMPONENTS_HTML, SIMILARITY_HTML, MAP_HTML, CLUSTERS_HTML),
        *(*STATISTICS_HTML, "fiftyone.json", "keep.txt", "drop.txt", "coco.json", "yolo.zip", "kept.csv"),
        *(SPLIT_CSV, SUBSET_TXT, CLUSTERS_CSV, KEPT_NEIGHBORS, *KEPT_FILES),
    ]
)


def is_output(name: str) -> bool:
    """Return whether a name, relative to the work_dir, is that of an output, or of the folder of shards."""
    for files in (*FILE_SETS, TRANSFORMED):
        own = name.removeprefix(files.prefix)
        if own in _OUTPUTS or own.split("/")[0] in (SHARDS, FEATURE_PARTS):
            return True
    return parse_range(name) is not None


_IN_SHARDS = {
    path.split("/")[1]
    for path in (LIST, EARLIER, MERGED, MERGED_MANIFEST, PARTITIONS, SEARCH, VERIFY, NEIGHBORS, earlier_name(""))
}


def is_in_shards(name: str) -> bool:
    """Return whether a name, such as `shards/x`, is that of a file that runs write into a folder of shards."""
    own = name.split("/")[1]
    return own in _IN_SHARDS or own.startswith(".") or parse_range(own) is not None


_RANGE = re.compile(r"features-(\d{12,})-(\d{12,})\b[^/]*")


def format_range_stem(start: int, stop: int) -> str:
    """Return the stem of the feature shard of the list entries [start, stop)."""
    return f"features-{start:012d}-{stop:012d}"


def parse_range(name: str) -> tuple[int, int] | None:
    """Return the range [start, stop) of list entries of a feature shard's file; None for other files."""
    match = _RANGE.fullmatch(name.rpartition("/")[2])
    return (int(match[1]), int(match[2])) if match else None
