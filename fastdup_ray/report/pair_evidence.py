"""Verdicts on the pairs that a page shows."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa

from fastdup_ray.analysis.same_bytes import find_first_of_bytes
from fastdup_ray.analysis.verified_pairs import BOX, MATRIX, VERIFIED, VerifiedPairs
from fastdup_ray.common import layout
from fastdup_ray.common.arrays import IntArray
from fastdup_ray.common.facts import StoredConfig
from fastdup_ray.common.relations import DUPLICATE_OF, Relation
from fastdup_ray.storage import Store
from fastdup_ray.storage.parquet_files import map_parquet
from fastdup_ray.storage.tables import take_rows

RELATIONS = tuple(Relation)

IDENTITY = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0]

DECIMALS = 5
"""Of covers, differences and places, which are from 0 to 1: a tenth of a pixel of 10,000."""


def has_verified_pairs(config: StoredConfig) -> bool:
    """Return whether a run verified pairs; those of earlier versions did not."""
    return config.get("verify") not in (None, "off")


def read_verified_pairs(
    store: Store, config: StoredConfig, sha256: pa.ChunkedArray, contents: IntArray
) -> VerifiedPairs | None:
    """Return the verdicts of a run; None if it did not verify pairs.

    Args:
        store: The work_dir.
        config: Of the run.
        sha256: (n,) digests of its images.
        contents: (n,) int64, the first image with the same bytes or pixels.
    """
    if not has_verified_pairs(config):
        return None
    form = VERIFIED.select([name for name in VERIFIED.schema.names if name != "contents"])  # a third of the file
    table = map_parquet(store.fetch(layout.VERIFIED), form, store.scratch())
    return VerifiedPairs(table, find_first_of_bytes(sha256, store.scratch), contents)


class PairEvidence:
    """The verdicts on pairs that are requested, each once.

    Args:
        verified: All verdicts of the run.
    """

    def __init__(self, verified: VerifiedPairs) -> None:
        self._verified = verified
        self._requested: dict[tuple[int, int], None] = {}

    def request(self, first: int, second: int) -> None:
        """Request the verdict on two images; nothing happens if the page has it."""
        if first != second:
            self._requested.setdefault((min(first, second), max(first, second)))

    def make_columns(self, number: Callable[[int], int]) -> dict[str, Any]:
        """Return what the scripts need.

        Args:
            number: Gives the number of an image on the page.

        Returns:
            relations: Their names. duplicate_of: How a reason begins, by relation. pairs: For each pair two numbers of
            images, the position of the relation, the parts of both that the other one shows, the part that differs,
            the matrix that takes places of the second image to the first (empty if it changes nothing, or null), and
            the box of the largest difference in the first image, if there is one.
        """
        return {
            "relations": RELATIONS,
            "duplicate_of": DUPLICATE_OF,
            "pairs": list(self._iter_rows(number)),
        }

    def _iter_rows(self, number: Callable[[int], int]) -> Iterator[list[Any]]:
        pairs = np.array(list(self._requested), np.int64).reshape(-1, 2)
        rows, backwards = self._verified.find_rows(pairs[:, 0], pairs[:, 1])
        seen = rows >= 0
        pairs = np.where(backwards[:, None], pairs[:, ::-1], pairs)[seen]
        verdicts = take_rows(self._verified.table, rows[seen]).to_pylist()
        for (first, second), verdict in zip(pairs.tolist(), verdicts, strict=True):
            covers_and_difference, matrix, box = (
                [round(verdict[name], DECIMALS) for name in names if verdict[name] is not None]
                for names in (("cover_from", "cover_to", "difference"), MATRIX, BOX)
            )
            transform = None if not matrix else [] if matrix == IDENTITY else matrix
            relation = RELATIONS.index(Relation(verdict["relation"]))
            yield [
                *(number(first), number(second), relation, *covers_and_difference, transform),
                *([box] if box[0] < box[2] else []),
            ]
