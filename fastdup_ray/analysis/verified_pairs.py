"""Verified pairs: images that were compared in full detail, and their relations."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import cached_property
from tempfile import TemporaryFile

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fastdup_ray.common.arrays import BoolArray, ByteArray, IntArray
from fastdup_ray.common.mapped_arrays import write_and_map
from fastdup_ray.common.records import Pairs
from fastdup_ray.common.relations import CONFIRMED, Loss, Relation
from fastdup_ray.storage.parquet_files import TableFormat
from fastdup_ray.storage.tables import ROWS_PER_BLOCK, take_rows

MATRIX = ("m00", "m01", "m02", "m10", "m11", "m12")
BOX = ("left", "top", "right", "bottom")
LOSSES = ("lost_from", "lost_to")

VERIFIED = TableFormat(
    pa.schema(
        [
            ("from", pa.int64()),
            ("to", pa.int64()),
            ("similarity", pa.float64()),
            ("relation", pa.large_string()),
            *((name, pa.float64()) for name in ("cover_from", "cover_to", "difference", *BOX, *MATRIX)),
            ("contents", pa.large_string()),
            *((name, pa.large_string()) for name in LOSSES),
        ]
    ),
    never_null=frozenset(["from", "to", "similarity", "relation", "contents"]),
    optional=frozenset(LOSSES),
)
"""Columns of verified_pairs.parquet.

from, to: indices of images, first the one with the lower digest, so that a verdict does not depend on names. contents:
the recipe of the verdict and the beginnings of both digests, by which a later run finds it again. See `relate.Verdict`
for the others.
"""

_RELATIONS = tuple(Relation)

EVIDENCE = ("relation", "cover_from", "cover_to", "difference")
"""Columns that outputs for people and other tools take over."""


@dataclass(frozen=True)
class VerifiedPairs:
    """The verdicts of a run on pairs of contents, by the images that have them.

    Attributes:
        table: Table of `VERIFIED`, ascending by from and to; each of the first image with its bytes. It may be mapped
            from a file, like the arrays.
        first: (n,) int64, the first image with the same bytes; -1 where the bytes are not known.
        contents: (n,) int64, the first image with the same bytes or pixels.
    """

    table: pa.Table
    first: IntArray
    contents: IntArray

    def look_up(self, source: IntArray, target: IntArray) -> pa.Table:
        """Return the `EVIDENCE` of m directed pairs, null where a pair was not verified.

        Images with the same bytes or pixels are the same.
        """
        row, backwards = self.find_rows(source, target)
        equal, swapped = pa.array(self.contents[source] == self.contents[target]), pa.array(backwards)
        known = take_rows(self.table.select(EVIDENCE), row[row >= 0])
        place = pa.array(np.cumsum(row >= 0) - 1, mask=row < 0)
        relation, *covers, difference = (known[name].combine_chunks().take(place) for name in EVIDENCE)
        columns = {
            "relation": pc.if_else(equal, Relation.SAME.value, relation),
            "cover_from": pc.if_else(equal, 1.0, pc.if_else(swapped, covers[1], covers[0])),
            "cover_to": pc.if_else(equal, 1.0, pc.if_else(swapped, covers[0], covers[1])),
            "difference": pc.if_else(equal, 0.0, difference),
        }
        return pa.table([columns[name].cast(VERIFIED.schema.field(name).type) for name in EVIDENCE], EVIDENCE)

    def find_losses(self) -> pa.DictionaryArray:
        """Return (n,) text: the `Loss` of each image beside an image that is the same, null for none."""
        kinds = pa.array(list(Loss), pa.large_string())
        code = np.full(len(self.first), -1, np.int8)
        if set(LOSSES).issubset(self.table.column_names):
            for batch in self.table.select(["from", "to", *LOSSES]).to_batches():
                for end, name in zip(("from", "to"), LOSSES, strict=True):
                    lost = batch.filter(batch[name].is_valid())
                    code[lost[end].to_numpy()] = pc.index_in(lost[name], value_set=kinds).fill_null(-1).to_numpy()
        code = np.where(self.first < 0, np.int8(-1), code[self.first])
        return pa.DictionaryArray.from_arrays(pa.array(code, mask=code < 0), kinds)

    def iter_confirmed(self, threshold: float) -> Iterator[Pairs]:
        """Yield the pairs that show the same, though their similarities are not above the threshold, block by block."""
        for pairs in self._iter_pairs(CONFIRMED):
            yield pairs.select(pairs.value <= threshold)

    def iter_links(self, relations: Collection[Relation]) -> Iterator[Pairs]:
        """Yield the pairs with one of some relations, and their similarities; `SAME` is that of equal contents."""
        yield from self._iter_pairs(relations)
        for start in range(0, len(self.contents) if Relation.SAME in relations else 0, ROWS_PER_BLOCK):
            block = self.contents[start : start + ROWS_PER_BLOCK]
            repeats = np.flatnonzero(block != np.arange(start, start + len(block)))
            yield Pairs(start + repeats, block[repeats], np.ones(len(repeats)))

    def _iter_pairs(self, relations: Collection[Relation]) -> Iterator[Pairs]:
        for batch in self.table.select(["from", "to", "similarity", "relation"]).to_batches(ROWS_PER_BLOCK):
            some = batch.filter(pc.is_in(batch["relation"], value_set=_make_values(relations)))
            yield Pairs(*(some[name].to_numpy() for name in ("from", "to", "similarity")))

    def have_relation(self, source: IntArray, target: IntArray, relations: Collection[Relation]) -> BoolArray:
        """Return (m,) bool: whether the relation of a pair is one of some; `SAME` is that of equal contents."""
        have: BoolArray = np.isin(self._find_codes(source, target), [_RELATIONS.index(wanted) for wanted in relations])
        return have

    def find_rows(self, source: IntArray, target: IntArray) -> tuple[IntArray, BoolArray]:
        """Return the rows of m pairs in `table`, -1 where there is none, and whether they are not in that order."""
        a, b = self.first[source], self.first[target]
        row, back = self._find(a, b), self._find(b, a)
        return np.maximum(row, back), row < 0

    def _find_codes(self, source: IntArray, target: IntArray) -> IntArray:
        """Return the positions in `_RELATIONS` of the relations of m pairs, -1 where there is none."""
        row, _ = self.find_rows(source, target)
        code = np.full(len(row), -1)
        code[row >= 0] = self._codes[row[row >= 0]]
        code[self.contents[source] == self.contents[target]] = _RELATIONS.index(Relation.SAME)
        return code

    @cached_property
    def _codes(self) -> ByteArray:
        """(r,) the position in `_RELATIONS` of the relation of each row."""
        values, batches = pa.array(_RELATIONS, pa.large_string()), self.table.select(["relation"]).to_batches()
        codes = (pc.index_in(batch["relation"], value_set=values).to_numpy() for batch in batches)
        return write_and_map(codes, np.uint8, TemporaryFile())

    @cached_property
    def _keys(self) -> IntArray:
        n, batches = len(self.first), self.table.select(["from", "to"]).to_batches()
        keys = (batch["from"].to_numpy() * n + batch["to"].to_numpy() for batch in batches)
        return write_and_map(keys, np.int64, TemporaryFile())

    def _find(self, source: IntArray, target: IntArray) -> IntArray:
        """Return the rows of pairs in this order, -1 where there is none."""
        if not len(self._keys):
            return np.full(len(source), -1)
        wanted = source * len(self.first) + target
        row = np.searchsorted(self._keys, wanted).clip(max=len(self._keys) - 1)
        found: BoolArray = (self._keys[row] == wanted) & (source >= 0) & (target >= 0)
        rows: IntArray = np.where(found, row, -1)
        return rows


def _make_values(relations: Collection[Relation]) -> pa.Array:
    return pa.array(sorted(relations), pa.large_string())
