"""`fastdup-ray leakage`: which pictures of a test set stand in the training set."""

import os
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fastdup_ray.analysis.pairs import rank_names, sort_pairs
from fastdup_ray.common import layout
from fastdup_ray.common.layout import INDEXED, SCORED
from fastdup_ray.common.paths import accept_paths
from fastdup_ray.common.records import Pairs
from fastdup_ray.config import RunConfig
from fastdup_ray.errors import ConfigError, LeakageError
from fastdup_ray.inputs import check_inputs
from fastdup_ray.outputs.exact_copies import ExactCopies, read_exact_copies
from fastdup_ray.outputs.images import Images, load_images
from fastdup_ray.runs.indexed_set import read_indexed_facts
from fastdup_ray.runs.pipeline import deduplicate, is_indexed
from fastdup_ray.runs.preflight import refuse_foreign_outputs
from fastdup_ray.storage import Store, open_file, open_store
from fastdup_ray.storage.tables import parse_numbers, parse_rows, read_csv, write_csv

THRESHOLD = 0.9

FIXED_PARAMETERS = (
    "input_dir",
    "run_mode",
    "version",
    "num_images",
    "min_offset",
    "max_offset",
    "distance",
    "invariant",
)
"""Parameters of a run that say something of one list, or of what a run is for; all others act on both sets."""


@dataclass(frozen=True)
class Leakage:
    """What a test set shares with its training set. exact, near: test images with a training image of the same bytes
    or pixels, or, of the others, with one whose cosine is above `threshold`. file: leakage.csv, with the pairs.
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
        """Test images that stand in the training set."""
        return self.exact + self.near

    @property
    def share(self) -> float:
        """The part of the test images that stand in the training set."""
        return self.copies / self.test_images

    def as_dict(self) -> dict[str, Any]:
        """All of it, for JSON."""
        return asdict(self) | {"copies": self.copies, "share": round(self.share, 6)}

    def text(self) -> str:
        """What the command prints."""
        return (
            f"{self.copies:,} of {self.test_images:,} test images ({self.share:.2%}) stand among "
            f"{self.train_images:,} training images: {self.exact:,} exact copies, "
            f"{self.near:,} near copies above {self.threshold:g}.\nThe pairs are in {self.file}"
        )

    def fail_over(self, limit: int) -> None:
        """Raises `LeakageError` where more than `limit` test images stand in the training set."""
        if self.copies > limit:
            raise LeakageError(f"{self.copies:,} test images stand in the training set; {limit:,} are allowed.")


@accept_paths("train", "test", "work_dir")
def leakage(
    train: str | os.PathLike[str],
    test: str | os.PathLike[str],
    work_dir: str | os.PathLike[str] | None = None,
    threshold: float = THRESHOLD,
    **parameters: Any,
) -> Leakage:
    """Looks for each picture of `test` among those of `train`; writes leakage.csv.

    train: a folder, a list file, or the work_dir of a finished run on them, whose index is used as it is.
    test: a folder, a list file, or features of run mode 1, a file or its folder.
    work_dir: where the training set is indexed; default: that of `run`. Not to be given with a finished work_dir.
    threshold: of the cosine. parameters: as in `run`, for both sets.

    A training set that work_dir has the index of, unchanged, is not indexed again. leakage.csv has the columns test,
    train, similarity and copy (exact or near), the closest pair first: of each test image its nearest_neighbors_k
    closest above the threshold, and always an exact copy where there is one.

    Raises a `FastdupError` whose text is one line.
    """
    for name in parameters:
        if name in FIXED_PARAMETERS:
            raise ConfigError(f"leakage does not take {name!r}.")
    if _is_finished(train):
        if work_dir is not None:
            raise ConfigError(f"work_dir={work_dir!r} has no use: {train!r} is that of a finished run.")
        place = {"work_dir": train}
    else:
        place = {} if work_dir is None else {"work_dir": work_dir}
    mode = 4 if _has_features(test) else 3
    scoring = RunConfig.of(input_dir=test, run_mode=mode, threshold=threshold, **place, **parameters)
    check_inputs(scoring)
    refuse_foreign_outputs(open_store(scoring.work_dir), [layout.LEAKAGE_CSV], overwrite=scoring.overwrite)
    if not _is_finished(train):
        indexing = RunConfig.of(input_dir=train, **place, **parameters)
        if not is_indexed(indexing):
            deduplicate(indexing)
    return _read_scoring(open_store(deduplicate(scoring).work_dir), threshold)


def _is_finished(location: str) -> bool:
    return open_store(location).is_file(layout.SUMMARY)


def _has_features(location: str) -> bool:
    """Whether it is features rather than pictures: a folder that has them, or a file with its names beside it."""
    store, file = open_file(location, layout.FEATURES)
    there = file.endswith(".dat") and store.is_file(file)
    return there and (file == layout.FEATURES or store.is_file(file + ".csv"))


def _read_scoring(store: Store, threshold: float) -> Leakage:
    """From what a scoring has just left."""
    images = load_images(store, SCORED.name(layout.FEATURES), SCORED)
    indexed = load_images(store, read_indexed_facts(store)["features_file"], INDEXED)
    copies = read_exact_copies(store, SCORED, images.names, indexed.names)
    contents = read_exact_copies(store, INDEXED, indexed.names, indexed.names).contents(len(indexed))
    pairs = _add_missing_copies(_read_pairs(store, images, indexed), copies)
    pairs = sort_pairs(pairs, rank_names(images.names), rank_names(indexed.names), closest_first=True)
    exact = _is_exact(pairs, copies, contents)
    kind = pc.if_else(pa.array(exact), "exact", "near")
    ends = images.names.take(pa.array(pairs.source)), indexed.names.take(pa.array(pairs.target))
    with store.lock(layout.LOCK):
        write_csv(store, layout.LEAKAGE_CSV, layout.LEAKAGE_HEADER, [*ends, pairs.value, kind])
    of_exact, of_any = np.unique(pairs.source[exact]), np.unique(pairs.source)
    return Leakage(
        store.location,
        threshold,
        train_images=len(indexed),
        test_images=len(images),
        exact=len(of_exact),
        near=len(of_any) - len(of_exact),
        file=os.path.join(store.location, layout.LEAKAGE_CSV),
    )


def _read_pairs(store: Store, images: Images, indexed: Images) -> Pairs:
    """similarity.csv of a scoring, by the rows of both sets."""
    path = store.fetch(layout.SIMILARITY_CSV)
    table = read_csv(path, layout.PAIRS_HEADER)
    source, target = (parse_rows(path, table[name], side.names) for name, side in (("from", images), ("to", indexed)))
    return Pairs(source, target, parse_numbers(path, table, "distance", pa.float64()).to_numpy())


def _is_exact(pairs: Pairs, copies: ExactCopies, contents: np.ndarray) -> np.ndarray:
    """(m,) bool: whether both files have the same bytes, or the same pixels."""
    content = np.full(max(pairs.source.max(initial=-1), copies.copy.max(initial=-1)) + 1, -1)
    content[copies.copy] = contents[copies.of]
    return content[pairs.source] == contents[pairs.target]


def _add_missing_copies(pairs: Pairs, copies: ExactCopies) -> Pairs:
    """The same, and a pair for each image whose copy is not among its k neighbours."""
    size = max(pairs.target.max(initial=0), copies.of.max(initial=0)) + 1
    missing = ~np.isin(copies.copy * size + copies.of, pairs.source * size + pairs.target)
    return Pairs(
        np.concatenate([pairs.source, copies.copy[missing]]),
        np.concatenate([pairs.target, copies.of[missing]]),
        np.concatenate([pairs.value, np.ones(missing.sum())]),
    )
