"""How well the relations of verified pairs tell duplicates from other pairs."""

from collections import Counter
from collections.abc import Iterator, Set
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from scipy.sparse import coo_array, csr_array
from scipy.sparse.csgraph import connected_components

from fastdup_ray.analysis.verified_pairs import VerifiedPairs
from fastdup_ray.common.arrays import IntArray
from fastdup_ray.common.relations import CONFIRMED, Relation
from fastdup_ray.evaluation.pairs import ORIGINAL

NOT_COMPARED = "not compared"
"""Stands for the relation of a pair that the run did not verify."""

CRITERIA: dict[str, Set[Relation]] = {"same": {Relation.SAME}, "any confirmed": CONFIRMED}
"""Ways to tell duplicates: the relations of pairs that count as duplicates."""


@dataclass(frozen=True)
class PairTotals:
    """Some pairs of labeled images.

    Attributes:
        pairs: Number of pairs.
        duplicates: How many of them are duplicates, according to the truth.
    """

    pairs: int
    duplicates: int

    def __add__(self, other: "PairTotals") -> "PairTotals":
        return PairTotals(self.pairs + other.pairs, self.duplicates + other.duplicates)

    @property
    def precision(self) -> float:
        """Share of duplicates among the pairs; 1 where there are no pairs."""
        return self.duplicates / self.pairs if self.pairs else 1.0


@dataclass(frozen=True)
class RelationEvaluation:
    """How well the relations of verified pairs tell duplicates from other pairs of labeled images.

    Two images with the same bytes are a pair of the relation `same`.

    Attributes:
        duplicates: Number of all pairs of duplicates, verified or not.
        relations: The verified pairs of each relation that occurs.
        direct: For each of `CRITERIA` the pairs with one of its relations.
        joined: The same, with all pairs of images that these pairs connect over any number of steps.
        edits: For each kind of edit the number of pairs of an edited image and an original of its group, by relation
            or `NOT_COMPARED`.
    """

    duplicates: int
    relations: dict[str, PairTotals]
    direct: dict[str, PairTotals]
    joined: dict[str, PairTotals]
    edits: dict[str, dict[str, int]]

    def recall(self, totals: PairTotals) -> float:
        """Return the share of all pairs of duplicates that is among some pairs."""
        return totals.duplicates / self.duplicates

    def lines(self) -> Iterator[str]:
        """Yield what the command prints."""
        yield f"\n{'relation':24}{'pairs':>10}{'duplicates':>12}{'precision':>10}"
        for name, totals in self.relations.items():
            yield f"{name:24}{totals.pairs:10,}{totals.duplicates:12,}{totals.precision:10.4f}"
        yield f"\n{'duplicates by relation':24}{'precision':>10}{'recall':>10}"
        for criterion in CRITERIA:
            for name, totals in ((criterion, self.direct[criterion]), (f"{criterion}, joined", self.joined[criterion])):
                yield f"{name:24}{totals.precision:10.4f}{self.recall(totals):10.4f}"
        if self.edits:
            occurring = {name for counts in self.edits.values() for name in counts}
            widths = {name: max(len(name), 6) + 2 for name in (*Relation, NOT_COMPARED) if name in occurring}
            head = "".join(f"{name:>{width}}" for name, width in widths.items())
            yield f"\n{'relation by edit':24}{'copies':>10}{head}"
            for kind, counts in self.edits.items():
                total = sum(counts.values())
                shares = "".join(f"{counts.get(name, 0) / total:{width}.3f}" for name, width in widths.items())
                yield f"{kind:24}{total:10,}{shares}"


def evaluate_relations(
    verified: VerifiedPairs, images: IntArray, groups: IntArray, kinds: IntArray, names: list[str]
) -> RelationEvaluation:
    """Measure the relations of verified pairs.

    Args:
        verified: The verified pairs of a run.
        images: (n,) int64, the labeled images, as indices in the run.
        groups: (n,) int64, numbers from 0, equal for images of one group.
        kinds: (n,) int64, an index in `names`, `ORIGINAL` or `UNKNOWN`.
        names: The kinds of edits.
    """
    first = verified.first[images]
    has_bytes = first >= 0
    contents, content = np.unique(first[has_bytes], return_inverse=True)
    shape = len(contents), int(groups.max(initial=-1)) + 1
    members = coo_array((np.ones(len(content), np.int64), (content, groups[has_bytes])), shape=shape).tocsr()

    table = verified.table.select(["from", "to", "relation"])
    labeled = [pc.is_in(table[end], value_set=pa.array(contents)) for end in ("from", "to")]
    table = table.filter(pc.and_(*labeled))
    source, target = (np.searchsorted(contents, table[end].to_numpy()) for end in ("from", "to"))
    relation = np.array(table["relation"].to_pylist(), object)

    def select(wanted: Set[Relation]) -> tuple[IntArray, IntArray]:
        rows = np.isin(relation, list(wanted))
        return source[rows], target[rows]

    def count(wanted: Set[Relation]) -> PairTotals:
        totals = _count_between(members, *select(wanted))
        return totals + _count_within(members) if Relation.SAME in wanted else totals

    return RelationEvaluation(
        duplicates=_count_two_of(np.bincount(groups)),
        relations={name.value: totals for name in Relation if (totals := count({name})).pairs},
        direct={criterion: count(wanted) for criterion, wanted in CRITERIA.items()},
        joined={criterion: _count_within(_join(members, *select(wanted))) for criterion, wanted in CRITERIA.items()},
        edits=_count_edits(verified, images, groups, kinds, names),
    )


def _count_between(members: csr_array, source: IntArray, target: IntArray) -> PairTotals:
    """Count the pairs of an image of one content and an image of another.

    Args:
        members: (c, g) number of images of each content in each group.
        source: (m,) indices of contents.
        target: (m,) indices of the others.
    """
    size = members.sum(axis=1)
    pairs, duplicates = size[source] * size[target], members[source].multiply(members[target])
    return PairTotals(int(pairs.sum()), int(duplicates.sum()))


def _count_within(members: csr_array) -> PairTotals:
    """Count the pairs of images of one content, or whatever else the rows of `members` are."""
    return PairTotals(_count_two_of(members.sum(axis=1)), _count_two_of(members.data))


def _count_two_of(sizes: IntArray) -> int:
    """Return in how many ways two can be taken of one of some sets."""
    return int((sizes * (sizes - 1) // 2).sum())


def _join(members: csr_array, source: IntArray, target: IntArray) -> csr_array:
    """Return the number of images of each component, over the given pairs of contents, in each group."""
    c = members.shape[0]
    count, component = connected_components(coo_array((np.ones(len(source)), (source, target)), (c, c)), directed=False)
    return (coo_array((np.ones(c, np.int64), (component, np.arange(c))), (count, c)).tocsr() @ members).tocsr()


def _count_edits(
    verified: VerifiedPairs, images: IntArray, groups: IntArray, kinds: IntArray, names: list[str]
) -> dict[str, dict[str, int]]:
    """Return the number of pairs of an edited image and an original of its group, by kind and relation."""
    originals: dict[int, list[int]] = {}
    for row in np.flatnonzero(kinds == ORIGINAL).tolist():
        originals.setdefault(int(groups[row]), []).append(row)
    edited = np.flatnonzero(kinds > ORIGINAL).tolist()
    pairs = [(row, original) for row in edited for original in originals.get(int(groups[row]), [])]
    source, target = np.array(pairs, np.int64).reshape(-1, 2).T
    found = verified.look_up(images[source], images[target])["relation"].to_pylist()
    relation, kind = np.array([name or NOT_COMPARED for name in found], object), kinds[source]
    return {
        name: dict(Counter(relation[kind == number])) for number, name in enumerate(names) if (kind == number).any()
    }
