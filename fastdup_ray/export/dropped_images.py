"""The images that a plan drops, as arrays and texts on disk: there may be very many."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Self

import numpy as np
import pyarrow as pa

from fastdup_ray.common.arrays import BoolArray, IntArray
from fastdup_ray.common.mapped_arrays import write_and_map
from fastdup_ray.common.scratch import Scratch
from fastdup_ray.curation.plan_row import PlanRow
from fastdup_ray.curation.suggest import SuggestedPlan
from fastdup_ray.features import find_names
from fastdup_ray.storage.tables import ROWS_PER_BLOCK, encode_names, map_table

_SCHEMA = pa.schema([("name", pa.large_binary()), ("keeper", pa.large_binary())])


@dataclass(frozen=True)
class DroppedImages:
    """The d images that a plan drops, in its order.

    Attributes:
        table: d rows, mapped from a file: the raw names of the images, and of those that they duplicate (`_SCHEMA`).
        row: (d,) int64 indices of the images in the run; -1 for one that it did not see.
        scratch: Opens an empty file.
    """

    table: pa.Table
    row: IntArray
    scratch: Scratch

    @classmethod
    def of_suggestion(cls, plan: SuggestedPlan, scratch: Scratch) -> Self:
        """Return what a suggested plan drops."""
        blocks = plan.choice.iter_dropped

        def iter_tables() -> Iterator[pa.Table]:
            for ends in blocks():
                yield pa.table([plan.run.names.take(pa.array(end)) for end in ends], _SCHEMA)

        row = write_and_map((rows for rows, _ in blocks()), np.int64, scratch())
        return cls(map_table(iter_tables(), _SCHEMA, scratch()), row, scratch)

    @classmethod
    def of_plan(cls, plan: Iterable[PlanRow], names: pa.Array, scratch: Scratch) -> Self:
        """Return what the rows of a plan drop.

        Args:
            plan: The rows.
            names: (n,) raw names of the images of the run.
            scratch: Opens an empty file.
        """
        dropped = (row for row in plan if row.is_dropped)

        def iter_tables() -> Iterator[pa.Table]:
            while part := list(islice(dropped, ROWS_PER_BLOCK)):
                ends = ([row.filename for row in part], [row.keeper for row in part])
                yield pa.table([encode_names(end) for end in ends], _SCHEMA)

        table = map_table(iter_tables(), _SCHEMA, scratch())
        return cls(table, find_names(table["name"], names, scratch), scratch)

    def has(self, names: pa.Array) -> BoolArray:
        """Return (m,) whether each of some raw names is that of one of them."""
        found: BoolArray = find_names(names, self.table["name"], self.scratch) >= 0
        return found

    def iter_names(self) -> Iterator[bytes]:
        """Yield their raw names."""
        return (name for batch in self.table.to_batches() for name in batch["name"].to_pylist())
