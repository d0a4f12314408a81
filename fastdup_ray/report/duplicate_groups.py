"""The images that have copies, and the groups that they are in; of all others a page needs no more than is shown."""

from functools import cached_property
from os import fsdecode

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fastdup_ray.analysis.keepers import DEFAULT_RULES, Ranking, find_references, parse_rules
from fastdup_ray.common import layout
from fastdup_ray.features import map_features
from fastdup_ray.outputs.exact_copies import ExactCopies
from fastdup_ray.outputs.formats import COMPONENTS
from fastdup_ray.report.group_table import GroupTable
from fastdup_ray.report.image_table import why_fixed
from fastdup_ray.storage import Store
from fastdup_ray.storage.tables import describe_other_run, iter_parquet, take_rows


class DuplicateGroups:
    """Images in components of two or more, and exact copies.

    names, facts: of all images. features_file: with rows of d numbers.
    """

    def __init__(self, store: Store, names: pa.Array, facts: pa.Table, copies: ExactCopies, features_file: str, d: int):
        self._store, self._names, self._facts, self._copies = store, names, facts, copies
        self._features = map_features(store, features_file, d)
        if len(self._features) != len(names):
            raise describe_other_run(store.fetch(features_file))

    def by_content(self, contents: np.ndarray) -> GroupTable:
        """Pictures with the same content; contents: (n,) int64, equal for them."""
        return self._make_groups(contents[self._member_rows])

    def by_component(self) -> tuple[GroupTable, np.ndarray]:
        """The components of two images or more, and the least similarity of the edges of each."""
        rows, component, least = self._component_rows
        number = -1 - np.arange(len(self._member_rows))  # in no component of two or more: one of its own
        number[np.searchsorted(self._member_rows, rows)] = component
        return self._make_groups(number), least[np.unique(component, return_index=True)[1]]

    def _make_groups(self, number: np.ndarray) -> GroupTable:
        return GroupTable(self._member_rows, number, *self._ranking, self._features)

    @cached_property
    def _component_rows(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Rows, components and least similarities of the images that are in a component of two or more."""
        found = [(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0))]
        if self._store.exists(layout.COMPONENTS):
            path, start = self._store.fetch(layout.COMPONENTS), 0
            for batch in iter_parquet(path, COMPONENTS.select(["component_id", "count", "min_distance"])):
                rows = np.flatnonzero(batch["count"].to_numpy() > 1)
                several = batch.take(pa.array(rows))
                least = several["min_distance"].fill_null(1.0).to_numpy()
                found.append((start + rows, several["component_id"].to_numpy(), least))
                start += len(batch)
            if start != len(self._names):
                raise describe_other_run(path)
        rows, component, least = map(np.concatenate, zip(*found, strict=True))
        return rows, component, least

    @cached_property
    def _member_rows(self) -> np.ndarray:
        """(m,) int64, rising."""
        return np.unique(np.concatenate([self._component_rows[0], self._copies.copy, self._copies.of]))

    @cached_property
    def _ranking(self) -> tuple[Ranking, np.ndarray]:
        """The order in which they are kept, and the bytes that go with each, (m,) int64."""
        images, names = take_rows(self._facts, self._member_rows), self._names.take(pa.array(self._member_rows))
        weights = images["size"].fill_null(0).to_numpy().astype(np.int64)
        weights[find_references(images)] = 0
        inside = pc.or_(pc.match_substring(names, "!/"), pc.match_substring(names, "#t="))
        for place in np.flatnonzero(inside.to_numpy(zero_copy_only=False)):
            if why_fixed(fsdecode(names[place].as_py()), False, self._store.access):
                weights[place] = 0
        return Ranking(parse_rules(DEFAULT_RULES), images, names), weights
