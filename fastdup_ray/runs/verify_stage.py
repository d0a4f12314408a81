"""Verify stage: compare similar images in full detail, in pieces that can be repeated alone."""

import hashlib
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fastdup_ray.analysis.verified_pairs import VERIFIED
from fastdup_ray.common import layout
from fastdup_ray.common.facts import RunSummary
from fastdup_ray.common.layout import INDEXED
from fastdup_ray.common.relations import Relation
from fastdup_ray.config import RunConfig
from fastdup_ray.errors import DamagedError, InputError, MissingFileError
from fastdup_ray.executors import Executor
from fastdup_ray.extract.model import shows_whole_images
from fastdup_ray.inputs import ReadEntry, make_reader
from fastdup_ray.neighbors.neighbor_files import StoredNeighbors
from fastdup_ray.outputs.finished_run import RunReader
from fastdup_ray.outputs.images import Images, load_images
from fastdup_ray.parameter_types import Verify
from fastdup_ray.runs.progress import report_verification, show_stage
from fastdup_ray.runs.verify_candidates import Candidates, order_by_group, select_keepers, select_neighbors
from fastdup_ray.storage import Store
from fastdup_ray.storage.parquet_files import open_parquet, read_parquet
from fastdup_ray.storage.tables import take_rows
from fastdup_ray.verify.pieces import (
    PAIRS_OF_FIRST_PIECE,
    PAIRS_PER_PIECE,
    TASKS,
    list_images,
    make_recipe,
    name_answer,
    name_piece,
    verify_piece,
)

LEAST_SIMILARITY: dict[Verify | None, float] = {"candidates": 0.7, "all": 0.3}
"""Similarity below which no pair is compared, by the value of `verify`. Most copies that are saved again or resized are
above 0.7; strong crops, and pages with the image on them, are often as low as 0.3."""

NEIGHBORS = 10
"""Neighbors of each image that are compared, whatever `nearest_neighbors_k` writes. A perfect comparison of two would
join 73 % of the true pairs of a benchmark, of ten 90 %."""

MOST_BY_DEFAULT = 1_000_000
"""Images of a run up to which pairs are compared if nothing is said: one step holds all candidates."""

WORKER_BYTES = 1 << 30

CHOOSING = "Choosing pairs to compare"
"""What a terminal shows meanwhile."""


class ImageHolder(Protocol):
    """Gives images that cannot be read by their names, such as the rows of a data set that streams past."""

    def hold(self, names: Collection[str]) -> None:
        """Keep images until the end of the run, so that they can be read."""

    def make_reader(self, names: Iterable[str] | None = None) -> ReadEntry:
        """Return what reads some of the images that are kept, or all, in any process."""


@dataclass(frozen=True)
class Pieces:
    """Pairs of a run, cut into pieces.

    Attributes:
        folder: Folder of their files in the work_dir.
        pairs: Number of pairs to compare.
    """

    folder: str
    pairs: int

    @cached_property
    def parts(self) -> list[range]:
        """The pairs of each piece: few in the first ones, since a piece counts as progress once it is whole."""
        parts: list[range] = []
        start, size = 0, min(PAIRS_OF_FIRST_PIECE, PAIRS_PER_PIECE)
        while start < self.pairs:
            parts.append(range(start, min(start + size, self.pairs)))
            start, size = parts[-1].stop, min(2 * size, PAIRS_PER_PIECE)
        return parts

    @property
    def count(self) -> int:
        """Number of pieces."""
        return len(self.parts)

    def count_pairs(self, number: int) -> int:
        """Return the number of pairs in a piece."""
        return len(self.parts[number])

    @property
    def answers(self) -> list[str]:
        """Names of the files with all their verdicts, taken over or new."""
        return [_name_reused(self.folder), *(name_answer(self.folder, number) for number in range(self.count))]


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
        similar = executor.call("index", cut_neighbors, store, config, features_file, neighbors)
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


def cut_neighbors(store: Store, config: RunConfig, features_file: str, neighbors: StoredNeighbors) -> Pieces:
    """Select similar images to compare, and write them as pieces; a step of the index actor."""
    images = load_images(store, features_file, INDEXED)
    least, recipe = LEAST_SIMILARITY[config.verify], make_recipe(config.max_pixels)
    candidates = select_neighbors(store, images, neighbors, least, recipe)
    folder = f"{layout.VERIFY}/{_make_key(candidates)}"
    for other in {"/".join(name.split("/")[:3]) for name in store.names(layout.VERIFY)} - {folder}:
        store.remove(other)
    return _write_pieces(store, config, images, candidates, folder)


def cut_keepers(store: Store, config: RunConfig, features_file: str, d: int, similar: Pieces) -> Pieces:
    """Select members of groups to compare with their keepers, and write them as pieces; a step of the index actor."""
    images = load_images(store, features_file, INDEXED, config)
    verdicts, recipe = _read_answers(store, similar), make_recipe(config.max_pixels)
    candidates = select_keepers(store, images, features_file, d, verdicts, recipe)
    return _write_pieces(store, config, images, candidates, f"{similar.folder}/keepers-{_make_key(candidates)}")


def gather_answers(store: Store, pieces: list[Pieces]) -> dict[str, int]:
    """Write verified_pairs.parquet, and return the number of pairs of each relation; a step of the index actor."""
    table = pa.concat_tables(_read_answers(store, each) for each in pieces)
    table = table.sort_by([("from", "ascending"), ("to", "ascending")])
    with open_parquet(store, layout.VERIFIED, VERIFIED.schema) as write:
        write(table)
    counts = table.group_by("relation").aggregate([([], "count_all")]).to_pylist()
    return {row["relation"]: row["count_all"] for row in sorted(counts, key=lambda row: str(row["relation"]))}


def _read_answers(store: Store, pieces: Pieces) -> pa.Table:
    return pa.concat_tables(read_parquet(store.fetch(name), VERIFIED) for name in pieces.answers)


def _make_key(candidates: Candidates) -> str:
    """Return a name that changes with whatever verdicts depend on, and with how pairs are cut into pieces."""
    digest = hashlib.sha256(f"{PAIRS_OF_FIRST_PIECE} {PAIRS_PER_PIECE}".encode())
    for column in (candidates.source, candidates.target):
        digest.update(np.ascontiguousarray(column).data)
    for text in candidates.contents.buffers()[1:]:
        digest.update(text or b"")
    return digest.hexdigest()[:16]


def _name_reused(folder: str) -> str:
    return f"{folder}/reused"


def _write_pieces(store: Store, config: RunConfig, images: Images, candidates: Candidates, folder: str) -> Pieces:
    """Write what is known of the pairs, and the others as pieces, in which connected pairs stand together."""
    pairs = pa.table(
        [candidates.source, candidates.target, candidates.similarity, candidates.contents],
        ["from", "to", "similarity", "contents"],
    )
    if store.exists(_name_reused(folder)):  # the run was killed, and its last results may be gone by now
        reused = read_parquet(store.fetch(_name_reused(folder)), VERIFIED)
    else:
        reused = _reuse(pairs, _read_last(store)) if config.reuse else VERIFIED.schema.empty_table()
        with open_parquet(store, _name_reused(folder), VERIFIED.schema) as write:
            write(reused)
    is_new = pc.invert(pc.is_in(candidates.contents, value_set=reused["contents"].combine_chunks()))
    new = pairs.filter(is_new)
    new = new.take(pa.array(order_by_group(new["from"].to_numpy(), new["to"].to_numpy(), len(images))))
    pieces = Pieces(folder, len(new))
    for number, part in enumerate(pieces.parts):
        if not store.exists(name_piece(folder, number)):
            _write_piece(store, name_piece(folder, number), images, new.slice(part.start, len(part)))
    return pieces


def _read_last(store: Store) -> pa.Table:
    """Return the verdicts of the last run; none if it did not finish, or they are damaged."""
    try:
        table = RunReader.open(store).read_parquet(layout.VERIFIED, VERIFIED)
    except (InputError, DamagedError, MissingFileError):
        return VERIFIED.schema.empty_table()
    return table.filter(pc.not_equal(table["relation"], Relation.UNSURE.value))  # a file may be readable by now


def _reuse(pairs: pa.Table, last: pa.Table) -> pa.Table:
    """Return the verdicts of those pairs that the last run compared, with their present indices and similarities."""
    row = pc.index_in(pairs["contents"], value_set=last["contents"].combine_chunks())
    verdicts = last.take(row.filter(row.is_valid())).drop_columns(["from", "to", "similarity", "contents"])
    own = pairs.filter(row.is_valid())
    columns = {name: own[name] for name in own.column_names} | {name: verdicts[name] for name in verdicts.column_names}
    return pa.table([columns[name] for name in VERIFIED.schema.names], VERIFIED.schema)


def _write_piece(store: Store, name: str, images: Images, pairs: pa.Table) -> None:
    columns = {name: pairs[name] for name in ("from", "to", "similarity", "contents")}
    for end in ("from", "to"):
        rows = pairs[end].to_numpy()
        entries = take_rows(images.entries.select(["size", "mtime_or_etag"]), rows)
        columns[f"uri_{end}"] = images.names.take(pa.array(rows))
        columns[f"size_{end}"], columns[f"token_{end}"] = entries["size"], entries["mtime_or_etag"]
    with open_parquet(store, name, TASKS) as write:
        write(pa.table([columns[field.name] for field in TASKS], TASKS))
