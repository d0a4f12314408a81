"""Find test images that also appear in the training set."""

import os
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fastdup_ray.analysis.pairs import rank_names, sort_pairs
from fastdup_ray.common import csv_columns, layout
from fastdup_ray.common.access import Access, make_access
from fastdup_ray.common.arrays import BoolArray, DoubleArray, IntArray
from fastdup_ray.common.layout import INDEXED, SCORED
from fastdup_ray.common.paths import accept_paths
from fastdup_ray.common.records import Pairs
from fastdup_ray.config import RunConfig
from fastdup_ray.errors import ConfigError, LeakageError
from fastdup_ray.evaluation.leakage_parameters import FIXED_PARAMETERS, THRESHOLD
from fastdup_ray.inputs import check_inputs
from fastdup_ray.outputs.exact_copies import ExactCopies, read_exact_copies
from fastdup_ray.outputs.images import Images, load_images
from fastdup_ray.runs.indexed_set import read_indexed_facts
from fastdup_ray.runs.pipeline import run_pipeline
from fastdup_ray.runs.preflight import refuse_foreign_outputs
from fastdup_ray.runs.stored_index import is_indexed
from fastdup_ray.storage import Store, open_store
from fastdup_ray.storage.csv_files import parse_numbers, parse_rows, read_csv, write_csv
from fastdup_ray.storage.feature_rows import has_features, open_features


@dataclass(frozen=True)
class Leakage:
    """What a test set has in common with its training set.

    Attributes:
        work_dir: The folder of the indexed training set.
        threshold: Similarity above which images are near duplicates.
        train_images: Number of images in the training set.
        test_images: Number of images in the test set.
        exact: Test images with the same bytes or pixels as a training image.
        near: Other test images that are more similar to a training image than `threshold`.
        file: Path or URI of leakage.csv, which has the pairs.
    """

    work_dir: str
    threshold: float
    train_images: int
    test_images: int
    exact: int
    near: int
    file: str

    @property
    def copies(self) -> int:
        """Number of test images that also appear in the training set."""
        return self.exact + self.near

    @property
    def share(self) -> float:
        """Share of the test images that also appear in the training set, 0 to 1."""
        return self.copies / self.test_images

    def as_dict(self) -> dict[str, Any]:
        """Return the fields, `copies` and `share`, for JSON."""
        return asdict(self) | {"copies": self.copies, "share": round(self.share, 6)}

    def text(self) -> str:
        """Return what the command prints."""
        return (
            f"{self.copies:,} of {self.test_images:,} test images ({self.share:.2%}) also appear among "
            f"{self.train_images:,} training images: {self.exact:,} as exact duplicates, {self.near:,} as near "
            f"duplicates above {self.threshold:g}.\nPairs: {self.file}"
        )

    def fail_over(self, limit: int) -> None:
        """Raise `LeakageError` if more than `limit` test images also appear in the training set."""
        if self.copies > limit:
            raise LeakageError(f"{self.copies:,} test images also appear in the training set ({limit:,} are allowed).")


@accept_paths("train", "test", "work_dir")
def leakage(
    train: str | os.PathLike[str],
    test: str | os.PathLike[str],
    work_dir: str | os.PathLike[str] | None = None,
    threshold: float = THRESHOLD,
    **parameters: Any,
) -> Leakage:
    """Find test images that also appear in a training set, and write leakage.csv.

    leakage.csv has the columns test, train, similarity and copy (exact or near), most similar first. It has the
    `nearest_neighbors_k` nearest training images of each test image above the threshold, and an exact duplicate in any
    case. A training set whose index is in the work_dir, unchanged, is not indexed again.

    Args:
        train: A folder, a list file, or the work_dir of a finished run, whose index is used as it is.
        test: A folder, a list file, or embeddings of run mode 1: a features file or its folder.
        work_dir: Where the training set is indexed; default: that of `run`. Not allowed if `train` is a work_dir.
        threshold: Similarity above which images are near duplicates.
        **parameters: As in `run`, for both sets; see `FIXED_PARAMETERS` for those that are not taken.

    Raises:
        ConfigError: If a parameter is invalid.
        FastdupError: If one of both runs failed.
    """
    train, test = os.fspath(train), os.fspath(test)
    for name in parameters:
        if name in FIXED_PARAMETERS:
            raise ConfigError(f"Unknown parameter {name!r}: leakage does not take it.")
    access = make_access(
        anonymous=parameters.get("s3_anonymous", False), requester_pays=parameters.get("s3_requester_pays", False)
    )
    if _is_finished(train, access):
        if work_dir is not None:
            raise ConfigError(f"Invalid value for work_dir: {work_dir!r} (not needed: {train!r} is a finished run).")
        output = {"work_dir": train}
    else:
        output = {} if work_dir is None else {"work_dir": os.fspath(work_dir)}
    mode = 4 if _has_features(test, access) else 3
    scoring = RunConfig.of(input_dir=test, run_mode=mode, threshold=threshold, **output, **parameters)
    check_inputs(scoring)
    refuse_foreign_outputs(open_store(scoring.work_dir, access), [layout.LEAKAGE_CSV], overwrite=scoring.overwrite)
    if not _is_finished(train, access):
        indexing = RunConfig.of(input_dir=train, **{"verify": "off"} | output | parameters)
        if not is_indexed(indexing):
            run_pipeline(indexing)
    return _read_scoring(run_pipeline(scoring).store, threshold)


def _is_finished(location: str, access: Access) -> bool:
    return open_store(location, access).is_file(layout.SUMMARY)


def _has_features(location: str, access: Access) -> bool:
    """Return whether this is a features file with its list of names, or a folder that has one."""
    store, file = open_features(location, access)
    exists = file.endswith(".dat") and has_features(store, file)
    return exists and (file == layout.FEATURES or store.is_file(file + ".csv"))


def _read_scoring(store: Store, threshold: float) -> Leakage:
    """Write leakage.csv from the outputs of the scoring that has just ended."""
    images = load_images(store, SCORED.name(layout.FEATURES), SCORED)
    indexed = load_images(store, read_indexed_facts(store)["features_file"], INDEXED)
    copies = read_exact_copies(store, SCORED, images.names, indexed.names)
    contents = read_exact_copies(store, INDEXED, indexed.names, indexed.names).contents(len(indexed), store.scratch)
    pairs = _add_missing_copies(_read_pairs(store, images, indexed), copies)
    pairs = sort_pairs(pairs, rank_names(images.names), rank_names(indexed.names), closest_first=True)
    exact = _is_exact(pairs, copies, contents)
    kind = pc.if_else(pa.array(exact), "exact", "near")
    ends = images.names.take(pa.array(pairs.source)), indexed.names.take(pa.array(pairs.target))
    with store.lock(layout.LOCK):
        write_csv(store, layout.LEAKAGE_CSV, csv_columns.LEAKAGE_HEADER, [*ends, pairs.value, kind])
    of_exact, of_all = np.unique(pairs.source[exact]), np.unique(pairs.source)
    return Leakage(
        store.location,
        threshold,
        train_images=len(indexed),
        test_images=len(images),
        exact=len(of_exact),
        near=len(of_all) - len(of_exact),
        file=os.path.join(store.location, layout.LEAKAGE_CSV),
    )


def _read_pairs(store: Store, images: Images, indexed: Images) -> Pairs:
    """Read similarity.csv of a scoring, with names as indices in both sets."""
    path = store.fetch(layout.SIMILARITY_CSV)
    table = read_csv(path, csv_columns.PAIRS_HEADER)
    source, target = (parse_rows(path, table[name], side.names) for name, side in (("from", images), ("to", indexed)))
    similarity: DoubleArray = np.asarray(parse_numbers(path, table, "distance", pa.float64()))
    return Pairs(source, target, similarity)


def _is_exact(pairs: Pairs, copies: ExactCopies, contents: IntArray) -> BoolArray:
    """Return (m,) whether both images of a pair have the same bytes or the same pixels."""
    content = np.full(max(pairs.source.max(initial=-1), copies.copy.max(initial=-1)) + 1, -1)
    content[copies.copy] = contents[copies.of]
    exact: BoolArray = content[pairs.source] == contents[pairs.target]
    return exact


def _add_missing_copies(pairs: Pairs, copies: ExactCopies) -> Pairs:
    """Return the pairs and a pair for each exact duplicate that is not among the k neighbors."""
    size = max(pairs.target.max(initial=0), copies.of.max(initial=0)) + 1
    missing = ~np.isin(copies.copy * size + copies.of, pairs.source * size + pairs.target)
    return Pairs(
        np.concatenate([pairs.source, copies.copy[missing]]),
        np.concatenate([pairs.target, copies.of[missing]]),
        np.concatenate([pairs.value, np.ones(missing.sum())]),
    )
