"""Groups of a run: the components of two or more images, and the sets of exact duplicates."""

from functools import cached_property
from os import fsdecode

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fastdup_ray.analysis.keepers import DEFAULT_RULES, Ranking, find_references, parse_rules
from fastdup_ray.common import layout
from fastdup_ray.common.arrays import DoubleArray, IntArray
from fastdup_ray.features import map_features
from fastdup_ray.outputs.exact_copies import ExactCopies
from fastdup_ray.outputs.formats import COMPONENTS
from fastdup_ray.report.group_table import GroupTable
from fastdup_ray.report.image_table import explain_fixed
from fastdup_ray.storage import Store
from fastdup_ray.storage.tables import describe_other_run, iter_parquet, take_rows


class DuplicateGroups:
    """The images of a run that are in a component of two or more, or in a set of exact duplicates.

    Only these are ranked and held in memory; a large run has many more images that duplicate nothing.

    Args:
        store: The work_dir.
        names: (n,) raw names of all images.
        facts: (n,) `image_table.FACTS` of all images.
        copies: The exact duplicates of the run.
        features_file: The file with the (n, d) float32 embeddings.
        d: Numbers of an embedding.

    Raises:
        DamagedError: where the file does not have n embeddings.
    """

    def __init__(
        self, store: Store, names: pa.Array, facts: pa.Table, copies: ExactCopies, features_file: str, d: int
    ) -> None:
        self._store, self._names, self._facts, self._copies = store, names, facts, copies
        self._features = map_features(store, features_file, d)
        if len(self._features) != len(names):
            raise describe_other_run(store.fetch(features_file))

    def by_content(self, contents: IntArray) -> GroupTable:
        """Return the sets of exact duplicates.

        Args:
            contents: (n,) int64, equal for images with the same content.
        """
        return self._make_groups(contents[self._member_indices])

    def by_component(self) -> tuple[GroupTable, DoubleArray]:
        """Return the c components of two or more images, and the lowest similarity of the edges of each, (c,)."""
        indices, component, lowest = self._component_members
        number = -1 - np.arange(len(self._member_indices))  # an image in no such component gets a number of its own
        number[np.searchsorted(self._member_indices, indices)] = component
        return self._make_groups(number), lowest[np.unique(component, return_index=True)[1]]

    def _make_groups(self, number: IntArray) -> GroupTable:
        return GroupTable(self._member_indices, number, *self._ranking, self._features)

    @cached_property
    def _component_members(self) -> tuple[IntArray, IntArray, DoubleArray]:
        """Indices, component ids and lowest similarities of the images in a component of two or more."""
        parts = [(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0))]
        if self._store.exists(layout.COMPONENTS):
            path, start = self._store.fetch(layout.COMPONENTS), 0
            for batch in iter_parquet(path, COMPONENTS.select(["component_id", "count", "min_distance"])):
                rows = np.flatnonzero(batch["count"].to_numpy() > 1)
                members = batch.take(pa.array(rows))
                lowest = members["min_distance"].fill_null(1.0).to_numpy()
                parts.append((start + rows, members["component_id"].to_numpy(), lowest))
                start += len(batch)
            if start != len(self._names):
                raise describe_other_run(path)
        indices, components, similarities = zip(*parts, strict=True)
        return np.concatenate(indices), np.concatenate(components), np.concatenate(similarities)

    @cached_property
    def _member_indices(self) -> IntArray:
        """(m,) int64, ascending: the images in any group."""
        return np.unique(np.concatenate([self._component_members[0], self._copies.copy, self._copies.of]))

    @cached_property
    def _ranking(self) -> tuple[Ranking, IntArray]:
        """The order in which the m members are kept, and the bytes that dropping each would free, (m,) int64."""
        images = take_rows(self._facts, self._member_indices)
        names = self._names.take(pa.array(self._member_indices))
        weights = images["size"].fill_null(0).to_numpy().astype(np.int64)
        weights[find_references(images)] = 0
        inside = pc.or_(pc.match_substring(names, "!/"), pc.match_substring(names, "#t="))
        for position in np.flatnonzero(inside.to_numpy(zero_copy_only=False)):
            if explain_fixed(fsdecode(names[position].as_py()), self._store.access, is_reference=False):
                weights[position] = 0
        return Ranking(parse_rules(DEFAULT_RULES), images, names), weights
