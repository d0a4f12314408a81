"""Types of what the JSON files of a work_dir say: about features, runs, searches and numbers of images.

Each is a dictionary exactly as it is in the file, so keys that a later version adds survive a round trip. Files are
checked against `storage.facts` when they are read.
"""

from typing import Any, TypedDict, cast

Fingerprint = dict[str, str]
"""What embeddings depend on besides the images: `model` (sha256), `decoder`, `onnxruntime`, `cpu`, and, where they
apply, `bounding_box`, `compute` and `turns`. Embeddings with different fingerprints are never mixed."""


class FeatureFacts(TypedDict, total=False):
    """What the JSON file beside a set of features says of it.

    Attributes:
        format_version: Version of the layout of the files, an integer.
        version: Version of fastdup_ray that wrote them.
        n: Number of entries of the whole list; of features without a list, number of embeddings.
        list_sha256: Digest of the list. Missing for features that no run made.
        fingerprint: See `Fingerprint`. Missing for features that no run made.
        d: Numbers of an embedding.
        min_offset: First entry of a range or shard.
        max_offset: Entry after the last one of a range or shard.
        sha256: Digests of the files that belong together, by name or, in a shard, by suffix.
        entries: Columns of the entries of a shard, see `inputs.manifest.ENTRIES`.
    """

    format_version: int
    version: str
    n: int
    list_sha256: str
    fingerprint: Fingerprint
    d: int
    min_offset: int
    max_offset: int
    sha256: dict[str, str]
    entries: dict[str, list[Any]]


class Counts(TypedDict, total=False):
    """Numbers of images of a run; pairs, conflicts and groups are counted where the name says so.

    Attributes:
        entries: Lines of the input list.
        images: Images with an embedding.
        bad: Entries that could not be used.
        indexed: Images of the indexed set, in a scoring.
        pairs: Rows of similarity.csv.
        distinct_pairs: The same, with (a, b) and (b, a) counted once.
        labelled: Images with a label.
        label_conflicts: Distinct pairs with two different labels.
        outliers: Rows of outliers.csv.
        exact_copies: Rows of exact_copies.csv.
        same_bytes: Of these, with equal bytes.
        same_pixels: Of these, with equal pixels only.
        components: Groups of two images or more.
        near_copies: Images that are not needed if one of each group is kept, beside the exact duplicates.
        duplicates: See `outputs.duplicate_counts`, also for the next three.
        safe_to_drop: Of these, the ones that `plan` drops by default.
        safe_bytes: Bytes of their files.
        to_review: Duplicates that are not safe to drop.
    """

    entries: int
    images: int
    bad: int
    indexed: int
    pairs: int
    distinct_pairs: int
    labelled: int
    label_conflicts: int
    outliers: int
    exact_copies: int
    same_bytes: int
    same_pixels: int
    components: int
    near_copies: int
    duplicates: int
    safe_to_drop: int
    safe_bytes: int
    to_review: int


class ChangeCounts(TypedDict, total=False):
    """Numbers of rows of changes.csv, by kind."""

    images_added: int
    images_changed: int
    images_removed: int
    new_pairs: int
    groups_new: int
    groups_grew: int
    groups_shrank: int
    groups_gone: int


class AddedSummary(TypedDict):
    """How the neighbors of an earlier partitioned search were updated, where not all images were searched.

    Attributes:
        new: Images that the earlier search did not have. A changed image is a new one and a removed one.
        removed: Images of the earlier search that are gone.
        searched: Images that were searched: the new ones, and those that had a removed one as a neighbor.
        last_full: Number of images of the last search of all images.
        changed_since: Images that are new or were removed since then.
    """

    new: int
    removed: int
    searched: int
    last_full: int
    changed_since: int


class SearchSummary(TypedDict, total=False):
    """How the neighbors were found; `neighbors` in summary.json.

    Attributes:
        index: Name of the index, such as `Flat` or `HNSW32`, or `partitioned`.
        why: Why this one was chosen, in words.
        metric: One of the values of `distance`.
        k: Neighbors of each image.
        recall: Measured share of the true neighbors that were found, 0 to 1.
        recall_of_look_alikes: The same of images whose nearest neighbor is very similar; partitioned searches only.
        unused_parameters: Names in `faiss_param` that this index does not have.
        faiss_index: False if a partitioned search wrote no faiss.index.
        cells: Number of cells of a partitioned search.
        worker_bytes: Memory of the largest task of a partitioned search.
        seconds: Of each stage of a partitioned search.
        added: See `AddedSummary`; missing if all images were searched.
        reused: True if they were found by an earlier run.
    """

    index: str
    why: str
    metric: str
    k: int
    recall: float
    recall_of_look_alikes: float
    unused_parameters: list[str]
    faiss_index: bool
    cells: int
    worker_bytes: int
    seconds: dict[str, float]
    added: AddedSummary
    reused: bool


class TransformSummary(TypedDict):
    """What `invariant` found; `invariant` in summary.json.

    Attributes:
        turns: Names of the transforms that were searched.
        pairs: Rows of similarity_invariant.csv.
        distinct_pairs: The same, with (a, b) and (b, a) counted once.
        recall: Smallest measured recall of a transform, 0 to 1.
    """

    turns: tuple[str, ...]
    pairs: int
    distinct_pairs: int
    recall: float


class RunCost(TypedDict, total=False):
    """What a run took.

    Attributes:
        read: Entries that were read.
        seconds: Wall time of each stage.
        cpu_seconds: CPU time of the extractors.
        executor: Where the run worked: `local`, `ray` or `inline`.
    """

    read: int
    seconds: dict[str, float]
    cpu_seconds: float
    executor: str


class OutputBasis(TypedDict, total=False):
    """What the outputs of a run depend on besides its inputs and parameters; `basis` in summary.json.

    Attributes:
        code: Digest of the files of this package.
        libraries: Names and versions of the libraries that decide what is in the outputs.
        location: The work_dir, which the report names.
        sidecars: Digest of what lies beside the images, see `outputs.basis`.
        report: Digest of the report; missing if the run wrote none.
    """

    code: str
    libraries: str
    location: str
    sidecars: str
    report: str


class RunSummary(FeatureFacts, RunCost, total=False):
    """What summary.json, or test_summary.json of a scoring, says of a run.

    Attributes:
        counts: See `Counts`.
        skipped: Files of folders that were left out, by extension.
        neighbors: See `SearchSummary`. Missing after mode 1.
        features_file: Name of the features file. Missing after mode 1, when it is features.dat.
        changes: With `incremental`, see `ChangeCounts`.
        invariant: With `invariant`, see `TransformSummary`.
        verified: Pairs of each relation, with `verify`.
        basis: See `OutputBasis`. Missing after mode 1, and if that is not known: of images in buckets, or if one could
            not be read for the report.
        model: Facts of the model. Written by earlier versions.
        warnings: Lines for the report. Written by earlier versions.
    """

    counts: Counts
    skipped: dict[str, int]
    neighbors: SearchSummary
    features_file: str
    changes: ChangeCounts
    invariant: TransformSummary
    verified: dict[str, int]
    basis: OutputBasis
    model: dict[str, Any]
    warnings: list[str]


def begin_summary(facts: FeatureFacts) -> RunSummary:
    """Return a copy of the facts of a run's features, to which the rest of its summary is added."""
    return cast("RunSummary", facts.copy())


class StoredConfig(TypedDict, total=False):
    """What config.json says of a run, as far as it is read again; it has all fields of `RunConfig`."""

    input_dir: str | list[str] | None
    model_path: str
    annotations: str | None
    bounding_box: str
    distance: str
    threshold: float
    ccthreshold: float
    lower_threshold: float
    nearest_neighbors_k: int
    max_pixels: int
    thumbnails: bool
    verify: str
    s3_anonymous: bool
    s3_requester_pays: bool
