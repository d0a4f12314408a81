"""Pairs of a run, cut into pieces that workers compare, and their answers: steps of the index actor."""

import hashlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import chain

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fastdup_ray.analysis.sorting import sort_blocks
from fastdup_ray.analysis.verified_pairs import VERIFIED
from fastdup_ray.common import layout
from fastdup_ray.common.arrays import IntArray, split_array
from fastdup_ray.common.layout import INDEXED
from fastdup_ray.common.mapped_arrays import make_array, write_and_map
from fastdup_ray.common.relations import Relation
from fastdup_ray.common.scratch import Scratch
from fastdup_ray.config import RunConfig
from fastdup_ray.errors import DamagedError, InputError, MissingFileError
from fastdup_ray.features.match_keys import match_keys
from fastdup_ray.neighbors.neighbor_files import StoredNeighbors
from fastdup_ray.outputs.finished_run import RunReader
from fastdup_ray.outputs.images import Images, load_images
from fastdup_ray.parameter_types import Verify
from fastdup_ray.runs.verify_candidates import order_by_group, select_keepers, select_neighbors
from fastdup_ray.storage import Store
from fastdup_ray.storage.feature_rows import map_features
from fastdup_ray.storage.parquet_files import iter_parquet, map_parquet, open_parquet
from fastdup_ray.storage.tables import ROWS_PER_BLOCK, map_table, regroup, take_rows
from fastdup_ray.verify.pieces import (
    MOST_PIECES,
    PAIRS_OF_FIRST_PIECE,
    PAIRS_PER_PIECE,
    TASKS,
    make_recipe,
    name_answer,
    name_piece,
)

LEAST_SIMILARITY: dict[Verify | None, float] = {"candidates": 0.7, "all": 0.3}
"""Similarity below which no pair is compared, by the value of `verify`. Most copies that are saved again or resized are
above 0.7; strong crops, and pages with the image on them, are often as low as 0.3."""


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
        most = max(PAIRS_PER_PIECE, self.pairs // MOST_PIECES)
        start, size = 0, min(PAIRS_OF_FIRST_PIECE, most)
        while start < self.pairs:
            parts.append(range(start, min(start + size, self.pairs)))
            start, size = parts[-1].stop, min(2 * size, most)
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


def cut_neighbors(store: Store, config: RunConfig, features_file: str, d: int, neighbors: StoredNeighbors) -> Pieces:
    """Select similar images to compare, and write them as pieces; a step of the index actor."""
    images, features = load_images(store, features_file, INDEXED), map_features(store, features_file, d)
    least, recipe = LEAST_SIMILARITY[config.verify], make_recipe(config.max_pixels)
    candidates = select_neighbors(images, features, neighbors.open(store), least, recipe)
    folder = f"{layout.VERIFY}/{_make_key(candidates)}"
    for other in {"/".join(name.split("/")[:3]) for name in store.names(layout.VERIFY)} - {folder}:
        store.remove(other)
    return _write_pieces(store, config, images, candidates, folder)


def cut_keepers(store: Store, config: RunConfig, features_file: str, d: int, similar: Pieces) -> Pieces:
    """Select members of groups to compare with their keepers, and write them as pieces; a step of the index actor."""
    images, features = load_images(store, features_file, INDEXED, config), map_features(store, features_file, d)
    candidates = select_keepers(images, features, _map_answers(store, [similar]), make_recipe(config.max_pixels))
    return _write_pieces(store, config, images, candidates, f"{similar.folder}/keepers-{_make_key(candidates)}")


def gather_answers(store: Store, pieces: list[Pieces]) -> dict[str, int]:
    """Write verified_pairs.parquet, and return the number of pairs of each relation; a step of the index actor."""
    table, counts = _map_answers(store, pieces), Counter[str]()
    order = _order_by_ends(table, store.scratch)
    with open_parquet(store, layout.VERIFIED, VERIFIED.schema) as write:
        for rows in split_array(order, ROWS_PER_BLOCK):
            block = take_rows(table, rows)
            counts.update(block["relation"].to_pylist())
            write(block)
    return dict(sorted(counts.items()))


def _map_answers(store: Store, pieces: list[Pieces]) -> pa.Table:
    """Return all verdicts, mapped from a file."""
    names = [name for some in pieces for name in some.answers]
    blocks = chain.from_iterable(iter_parquet(store.fetch(name), VERIFIED) for name in names)
    return map_table(regroup(blocks), VERIFIED.schema, store.scratch())


def _order_by_ends(table: pa.Table, scratch: Scratch) -> IntArray:
    """Return (m,) int64 rows of pairs, each of which is there once, ascending by from and to."""
    n = 1 + max(pc.max(table[end]).as_py() or 0 for end in ("from", "to"))

    def encode() -> Iterator[IntArray]:
        for batch in table.select(["from", "to"]).to_batches():
            yield batch["from"].to_numpy() * n + batch["to"].to_numpy()

    keys = write_and_map(sort_blocks(encode(), scratch), np.int64, scratch())
    order, start = make_array(len(keys), np.int64, scratch), 0
    for block in encode():
        order[np.searchsorted(keys, block)] = np.arange(start, start + len(block))
        start += len(block)
    return order


def _make_key(candidates: pa.Table) -> str:
    """Return a name that changes with whatever verdicts depend on, and with how pairs are cut into pieces."""
    digest = hashlib.sha256(f"{PAIRS_OF_FIRST_PIECE} {PAIRS_PER_PIECE}".encode())
    for batch in candidates.to_batches(ROWS_PER_BLOCK):
        for end in ("from", "to"):
            digest.update(batch[end].to_numpy().data)
        digest.update("\n".join(batch["contents"].to_pylist()).encode())
    return digest.hexdigest()[:16]


def _name_reused(folder: str) -> str:
    return f"{folder}/reused"


def _write_pieces(store: Store, config: RunConfig, images: Images, candidates: pa.Table, folder: str) -> Pieces:
    """Write what is known of the pairs, and the others as pieces, in which connected pairs stand together."""
    if store.exists(_name_reused(folder)):  # the run was killed, and its last results may be gone by now
        known = map_parquet(store.fetch(_name_reused(folder)), VERIFIED, store.scratch())
        row = _match(candidates, known, store.scratch)
    else:
        known = _map_last(store) if config.reuse else VERIFIED.schema.empty_table()
        row = _match(candidates, known, store.scratch)
        with open_parquet(store, _name_reused(folder), VERIFIED.schema) as write:
            for block in _reuse(candidates, known, row):
                write(block)
    new = write_and_map(_find_missing(row), np.int64, store.scratch())
    order, pieces = order_by_group(candidates, new, len(images), store.scratch), Pieces(folder, len(new))
    for number, part in enumerate(pieces.parts):
        if not store.exists(name_piece(folder, number)):
            pairs = take_rows(candidates, order[part.start : part.stop])
            _write_piece(store, name_piece(folder, number), images, pairs)
    return pieces


def _map_last(store: Store) -> pa.Table:
    """Return the verdicts of the last run, mapped from a file; none if it did not finish, or they are damaged."""
    try:
        return RunReader.open(store).map_parquet(layout.VERIFIED, VERIFIED)
    except (InputError, DamagedError, MissingFileError):
        return VERIFIED.schema.empty_table()


def _match(candidates: pa.Table, verdicts: pa.Table, scratch: Scratch) -> IntArray:
    """Return (m,) int64 row of the verdict on the same contents as each of m pairs; -1 where there is none."""

    def list_verdicts() -> Iterator[tuple[IntArray, pa.Table]]:
        start = 0
        for batch in verdicts.select(["relation", "contents"]).to_batches():
            sure = pc.not_equal(batch["relation"], Relation.UNSURE.value)  # else a file may be readable by now
            rows = start + np.flatnonzero(sure)
            yield rows, pa.table({"uri": batch["contents"].filter(sure)})
            start += len(batch)

    listed = (pa.table({"uri": batch["contents"]}) for batch in candidates.to_batches())
    return match_keys(listed, list_verdicts(), len(candidates), scratch)


def _reuse(candidates: pa.Table, verdicts: pa.Table, row: IntArray) -> Iterator[pa.Table]:
    """Yield the verdicts on those pairs that the last run compared, with their present indices and similarities."""
    for start in range(0, len(row), ROWS_PER_BLOCK):
        found = np.flatnonzero(row[start : start + ROWS_PER_BLOCK] >= 0)
        if len(found):
            own, known = take_rows(candidates, start + found), take_rows(verdicts, row[start + found])
            columns = [(own if name in own.column_names else known)[name] for name in VERIFIED.schema.names]
            yield pa.table(columns, VERIFIED.schema)


def _find_missing(row: IntArray) -> Iterator[IntArray]:
    for start in range(0, len(row), ROWS_PER_BLOCK):
        yield start + np.flatnonzero(row[start : start + ROWS_PER_BLOCK] < 0)


def _write_piece(store: Store, name: str, images: Images, pairs: pa.Table) -> None:
    columns = {name: pairs[name] for name in ("from", "to", "similarity", "contents")}
    for end in ("from", "to"):
        rows = pairs[end].to_numpy()
        entries = take_rows(images.entries.select(["size", "mtime_or_etag"]), rows)
        columns[f"uri_{end}"] = images.names.take(pa.array(rows))
        columns[f"size_{end}"], columns[f"token_{end}"] = entries["size"], entries["mtime_or_etag"]
    with open_parquet(store, name, TASKS) as write:
        write(pa.table([columns[field.name] for field in TASKS], TASKS))
