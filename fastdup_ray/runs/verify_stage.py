"""Verify stage: compare similar images in full detail, in pieces that can be repeated alone."""

from collections.abc import Collection, Iterable
from itertools import chain
from typing import Protocol

from fastdup_ray.common.facts import RunSummary
from fastdup_ray.config import RunConfig
from fastdup_ray.executors import Executor
from fastdup_ray.extract.model import shows_whole_images
from fastdup_ray.inputs import ReadEntry, make_reader
from fastdup_ray.neighbors.neighbor_files import StoredNeighbors
from fastdup_ray.runs.pair_pieces import Pieces, cut_keepers, cut_neighbors, gather_answers
from fastdup_ray.runs.progress import report_verification, show_stage
from fastdup_ray.storage import Store
from fastdup_ray.verify.pieces import list_images, name_answer, verify_piece

NEIGHBORS = 10
"""Neighbors of each image that are compared, whatever `nearest_neighbors_k` writes. A perfect comparison of two would
join 73 % of the true pairs of a benchmark, of ten 90 %."""

MOST_BY_DEFAULT = 10_000_000
"""Images of a run up to which pairs are compared if nothing is said: with more, it takes days of a core."""

WORKER_BYTES = 1 << 30

CHOOSING = "Choosing pairs to compare"
"""What a terminal shows meanwhile."""


class ImageHolder(Protocol):
    """Gives images that cannot be read by their names, such as the rows of a data set that streams past."""

    def hold(self, names: Collection[str]) -> None:
        """Keep images until the end of the run, so that they can be read."""

    def make_reader(self, names: Iterable[str] | None = None) -> ReadEntry:
        """Return what reads some of the images that are kept, or all, in any process."""


def choose_verify(config: RunConfig, features: RunSummary) -> RunConfig:
    """Return the parameters of a run with a value for `verify`.

    If none is given, similar images are compared where it costs little beside the extraction, and where a similarity
    tells which ones: with embeddings that a run made of whole images with the embedded model.

    Args:
        config: Of the run.
        features: Facts of its features, with their counts.
    """
    if config.verify is not None:
        return config
    fingerprint, n = features.get("fingerprint"), features["counts"]["images"]
    is_cheap = fingerprint is not None and shows_whole_images(fingerprint) and n <= MOST_BY_DEFAULT
    return config.model_copy(update={"verify": "candidates" if is_cheap else "off"})


def widen_search(config: RunConfig) -> RunConfig:
    """Return the parameters of the search: with as many neighbors as are compared."""
    if config.verify == "off":
        return config
    return config.model_copy(update={"nearest_neighbors_k": max(NEIGHBORS, config.nearest_neighbors_k)})


def verify_neighbors(
    executor: Executor,
    store: Store,
    config: RunConfig,
    features_file: str,
    d: int,
    neighbors: StoredNeighbors,
    images: ImageHolder | None = None,
) -> dict[str, int]:
    """Compare similar images, then the members of a group with its keeper; write verified_pairs.parquet.

    Verdicts of the last run are reused for pairs of the same contents. A stage that was killed resumes with the pieces
    that have no answer yet.

    Args:
        executor: Runs the steps.
        store: The work_dir.
        config: Of the run.
        features_file: Name of the features file.
        d: Width of an embedding.
        neighbors: Of all its images.
        images: Gives the images if they cannot be read by their names.

    Returns:
        The number of pairs of each relation.
    """
    with show_stage(CHOOSING, config):
        similar = executor.call("index", cut_neighbors, store, config, features_file, d, neighbors)
    _verify_pieces(executor, store, config, similar, images)
    with show_stage(CHOOSING, config):
        members = executor.call("index", cut_keepers, store, config, features_file, d, similar)
    _verify_pieces(executor, store, config, members, images)
    with show_stage("Gathering the verified pairs", config):
        return executor.call("index", gather_answers, store, [similar, members])


def _verify_pieces(
    executor: Executor, store: Store, config: RunConfig, pieces: Pieces, images: ImageHolder | None
) -> None:
    missing = [n for n in range(pieces.count) if not store.exists(name_answer(pieces.folder, n))]
    if not missing:
        return
    readers = _make_readers(store, pieces, missing, images)
    work = [(store, pieces.folder, n, config.max_pixels, read) for n, read in zip(missing, readers, strict=True)]
    total = sum(pieces.count_pairs(number) for number in missing)
    for _ in report_verification(executor.map(verify_piece, work, WORKER_BYTES), total, config.log_format):
        pass


def _make_readers(store: Store, pieces: Pieces, numbers: list[int], images: ImageHolder | None) -> list[ReadEntry]:
    """Return for each of the pieces what reads its images."""
    if images is None:
        return [make_reader(store.access)] * len(numbers)
    names = [list_images(store, pieces.folder, number) for number in numbers]
    images.hold(set(chain.from_iterable(names)))
    return [images.make_reader(some) for some in names]
