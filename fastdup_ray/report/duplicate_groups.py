"""Groups of a run: its components, these joined by confirmed pairs, and its sets of exact duplicates."""

from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property

import numpy as np
import pyarrow as pa

from fastdup_ray.analysis.keepers import DEFAULT_RULES, Ranking, add_losses, parse_rules
from fastdup_ray.analysis.verified_pairs import VerifiedPairs
from fastdup_ray.common import layout
from fastdup_ray.common.arrays import AnyArray, DoubleArray, IntArray
from fastdup_ray.common.relations import CONFIRMED
from fastdup_ray.curation.keeper_choice import KeeperChoice
from fastdup_ray.report.component_table import ComponentTable, map_components
from fastdup_ray.report.group_table import GroupTable, Order, by_lowest, by_reclaim, by_size, choose_groups
from fastdup_ray.report.joined_components import JoinedComponents
from fastdup_ray.report.shown_groups import ShownGroups
from fastdup_ray.storage import Store
from fastdup_ray.storage.feature_rows import map_features
from fastdup_ray.storage.tables import ROWS_PER_BLOCK, describe_other_run, take_rows

ORDERS: Sequence[Order] = (by_size, by_reclaim, by_lowest)
"""Of many groups, a page has the first ones of each order. Only components have a lowest similarity."""


class DuplicateGroups:
    """Lists the groups of the n images of a run, as many as a page has room for.

    Numbers of all images are in arrays that may be mapped from files; what a page shows of a group is read when it is
    asked for.

    Args:
        store: The work_dir.
        names: (n,) raw names of all images.
        facts: (n,) `image_table.FACTS` of all images.
        features_file: The file with the (n, d) float32 embeddings.
        d: Numbers of an embedding.
        verified: The verified pairs of the run; None if it has none.
        choice: What the run suggests to drop.

    Raises:
        DamagedError: where the file does not have n embeddings.
    """

    def __init__(
        self,
        store: Store,
        names: pa.Array,
        facts: pa.Table,
        features_file: str,
        d: int,
        verified: VerifiedPairs | None,
        choice: KeeperChoice,
    ) -> None:
        self._store, self._names, self._facts = store, names, facts
        self._verified, self._choice = verified, choice
        self._features = map_features(store, features_file, d)
        if len(self._features) != len(names):
            raise describe_other_run(features_file)

    def by_content(self, contents: IntArray, limit: int) -> ShownGroups:
        """Return sets of exact duplicates.

        Args:
            contents: (n,) int64 index of the image that represents all with the same content.
            limit: Most sets to return, and so below.
        """
        return self._list_groups(_list_repeats(contents), limit)

    def by_component(self, limit: int) -> ShownGroups:
        """Return components of two or more images; of many, also those with the lowest similarity of an edge."""
        return self._list_groups(self._components.list_members(), limit, self._components.lowest)

    def by_confirmed_pair(self, limit: int) -> tuple[ShownGroups, IntArray]:
        """Return groups that appear or grow where confirmed pairs of any similarity count as links, too.

        Returns:
            These groups, and the ids of all components that such groups replace.
        """
        links = self._verified.iter_links(CONFIRMED) if self._verified is not None else ()
        ends = ((pairs.source, pairs.target) for pairs in links)
        joined = JoinedComponents(self._components.number, ends, self._store.scratch)
        return self._list_groups(joined.list_members(), limit), joined.list_replaced()

    def _list_groups(
        self, members: Iterable[tuple[IntArray, IntArray]], limit: int, lowest: DoubleArray | None = None
    ) -> ShownGroups:
        """Return groups of some images, given as blocks of groups and images.

        lowest: (n,) the lowest similarity of the edges of the group of each image.
        """
        table = GroupTable(members, len(self._names), self._store.scratch)

        def describe(images: IntArray, first: IntArray) -> tuple[AnyArray, AnyArray]:
            reclaim = np.add.reduceat(self._measure_dropped(images), first)
            return reclaim, np.zeros(len(first)) if lowest is None else lowest[images[first]]

        total, chosen = choose_groups(table.summarize(describe), limit, ORDERS)
        return ShownGroups(total, table, chosen, self._rank, self._choice, self._features)

    def _measure_dropped(self, images: IntArray) -> IntArray:
        """Return the bytes of each of some images that are suggested to be dropped, 0 for the others."""
        sizes = np.zeros(len(images), np.int64)
        dropped = np.flatnonzero(self._choice.find_keepers(images) >= 0)
        found = take_rows(self._facts.select(["size"]), images[dropped])["size"]
        sizes[dropped] = found.fill_null(0).to_numpy()
        return sizes

    @cached_property
    def _components(self) -> ComponentTable:
        return map_components(self._store.fetch(layout.COMPONENTS), len(self._names), self._store.scratch)

    def _rank(self, rows: IntArray) -> Ranking:
        """Return the order in which some images are kept."""
        return Ranking(parse_rules(DEFAULT_RULES), self._facts_and_losses, self._names, rows)

    @cached_property
    def _facts_and_losses(self) -> pa.Table:
        return add_losses(self._facts.slice(0, len(self._names)), self._verified)


def _list_repeats(contents: IntArray) -> Iterator[tuple[IntArray, IntArray]]:
    """Yield blocks of contents and images: those that repeat another image, and with each of them that image."""
    for start in range(0, len(contents), ROWS_PER_BLOCK):
        block = contents[start : start + ROWS_PER_BLOCK]
        rows = np.flatnonzero(block != np.arange(start, start + len(block)))
        yield np.tile(block[rows], 2), np.concatenate([start + rows, block[rows]])
