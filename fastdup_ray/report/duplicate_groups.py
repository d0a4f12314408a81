"""Groups of a run: components of two or more images, sets of exact duplicates, and what is suggested to be dropped."""

from functools import cached_property

import numpy as np
import pyarrow as pa
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from fastdup_ray.analysis.keepers import DEFAULT_RULES, Ranking, add_losses, parse_rules
from fastdup_ray.analysis.verified_pairs import VerifiedPairs
from fastdup_ray.common import layout
from fastdup_ray.common.arrays import DoubleArray, IntArray, shrink, split_array
from fastdup_ray.common.records import Pairs
from fastdup_ray.common.relations import CONFIRMED
from fastdup_ray.curation.keeper_choice import KeeperChoice
from fastdup_ray.outputs.exact_copies import ExactCopies
from fastdup_ray.outputs.formats import COMPONENTS
from fastdup_ray.report.group_table import GroupTable
from fastdup_ray.storage import Store
from fastdup_ray.storage.feature_rows import map_features
from fastdup_ray.storage.parquet_files import iter_parquet
from fastdup_ray.storage.tables import ROWS_PER_BLOCK, describe_other_run, take_rows


class DuplicateGroups:
    """The images of a run that are in a component of two or more, in a set of exact duplicates, or in a confirmed pair.

    In memory are numbers of these images alone; what a page shows of them is read when it is asked for.

    Args:
        store: The work_dir.
        names: (n,) raw names of all images.
        facts: (n,) `image_table.FACTS` of all images.
        copies: The exact duplicates of the run.
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
        copies: ExactCopies,
        features_file: str,
        d: int,
        verified: VerifiedPairs | None,
        choice: KeeperChoice,
    ) -> None:
        self._store, self._names, self._facts, self._copies = store, names, facts, copies
        self._verified, self._choice = verified, choice
        self._features = map_features(store, features_file, d)
        if len(self._features) != len(names):
            raise describe_other_run(features_file)

    def by_content(self, contents: IntArray) -> GroupTable:
        """Return the sets of exact duplicates.

        Args:
            contents: (n,) int64, equal for images with the same content.
        """
        return self._make_groups(contents[self._member_indices])

    def by_component(self) -> tuple[GroupTable, DoubleArray]:
        """Return the c components of two or more images, and the lowest similarity of the edges of each, (c,)."""
        _, _, lowest = self._component_members
        return self._make_groups(self._component_numbers), lowest

    def by_confirmed_pair(self) -> tuple[GroupTable, IntArray]:
        """Return the groups that appear or grow where confirmed pairs of any similarity count as links, too.

        Returns:
            These groups, and the ids of the components that they replace.
        """
        pairs = self._list_confirmed()
        _, node = np.unique(self._component_numbers, return_inverse=True)
        links = np.ones(len(pairs), np.int8), (node[pairs.source], node[pairs.target])
        n = max(1, len(node))  # a graph needs a node
        joined = connected_components(coo_array(links, shape=(n, n)), directed=False)[1]
        is_new = (np.bincount(joined) > 1)[joined[node]]
        alone = -1 - np.arange(len(node))
        replaced = np.unique(self._component_numbers[is_new & (self._component_numbers >= 0)])
        return self._make_groups(np.where(is_new, joined[node], alone)), replaced

    def _make_groups(self, number: IntArray) -> GroupTable:
        is_dropped = np.isin(self._member_indices, self._choice.dropped)
        return GroupTable(self._member_indices, number, self._rank, is_dropped, self._member_sizes, self._features)

    def _list_confirmed(self) -> Pairs:
        """Return the confirmed pairs, by the positions of the images among the m members."""
        if self._verified is None:
            return Pairs(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0))
        pairs = self._verified.list_links(CONFIRMED)
        source, target = (np.searchsorted(self._member_indices, end) for end in (pairs.source, pairs.target))
        return Pairs(source, target, pairs.value)

    @cached_property
    def _component_numbers(self) -> IntArray:
        """(m,) the component of each member; a negative number of its own for an image in none of two or more."""
        number = -1 - np.arange(len(self._member_indices))
        indices, component, _ = self._component_members
        number[np.searchsorted(self._member_indices, indices)] = component
        return number

    @cached_property
    def _component_members(self) -> tuple[IntArray, IntArray, DoubleArray]:
        """Indices and component ids of the images in a component of two or more; the lowest similarities of these."""
        parts = [(np.empty(0, np.int64), np.empty(0, np.int8), np.empty(0))]
        last = -1
        if self._store.exists(layout.COMPONENTS):
            path, start = self._store.fetch(layout.COMPONENTS), 0
            for batch in iter_parquet(path, COMPONENTS.select(["component_id", "count", "min_distance"])):
                rows = np.flatnonzero(batch["count"].to_numpy() > 1)
                members = batch.take(pa.array(rows))
                ids, first = np.unique(members["component_id"].to_numpy(), return_index=True)
                new = first[ids > last]  # components are numbered in the order of their first images
                last = max(last, int(ids.max(initial=-1)))
                lowest = members["min_distance"].fill_null(1.0).to_numpy()[new]
                parts.append((start + rows, shrink(members["component_id"].to_numpy()), lowest))
                start += len(batch)
            if start != len(self._names):
                raise describe_other_run(path)
        indices, components, similarities = zip(*parts, strict=True)
        return np.concatenate(indices), np.concatenate(components), np.concatenate(similarities)

    @cached_property
    def _member_indices(self) -> IntArray:
        """(m,) int64, ascending: the images in any group."""
        parts = [self._component_members[0], self._copies.copy, self._copies.of]
        if self._verified is not None:
            confirmed = self._verified.select(CONFIRMED)
            parts += [confirmed["from"].to_numpy(), confirmed["to"].to_numpy()]
        return np.unique(np.concatenate(parts))

    @cached_property
    def _member_sizes(self) -> IntArray:
        """(m,) int64 bytes of the file of each member."""
        table = self._facts.select(["size"])
        parts = (take_rows(table, rows)["size"] for rows in split_array(self._member_indices, ROWS_PER_BLOCK))
        sizes = [size.fill_null(0).to_numpy().astype(np.int64) for size in parts]
        return np.concatenate([np.empty(0, np.int64), *sizes])

    def _rank(self, rows: IntArray) -> Ranking:
        """Return the order in which some images are kept."""
        return Ranking(parse_rules(DEFAULT_RULES), self._facts_and_losses, self._names, rows)

    @cached_property
    def _facts_and_losses(self) -> pa.Table:
        return add_losses(self._facts.slice(0, len(self._names)), self._verified)
