"""The images that have copies, and the groups that they are in; of all others a page needs no more than is shown."""

from functools import cached_property
from os import fsdecode

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fastdup_ray.analysis.keepers import DEFAULT_RULES, Ranking, parse_rules, references
from fastdup_ray.common import layout
from fastdup_ray.features import map_features
from fastdup_ray.outputs.exact_copies import ExactCopies
from fastdup_ray.outputs.formats import COMPONENTS
from fastdup_ray.report.group_table import Groups
from fastdup_ray.report.pictures import why_fixed
from fastdup_ray.storage import Store
from fastdup_ray.storage.tables import of_another_run, parquet_blocks, rows_at


class Grouped:
    """Images in components of two or more, and exact copies.

    names, facts: of all images. features_file: with rows of d numbers.
    """

    def __init__(self, store: Store, names: pa.Array, facts: pa.Table, copies: ExactCopies, features_file: str, d: int):
        self._store, self._names, self._facts, self._copies = store, names, facts, copies
        self._features = map_features(store, features_file, d)
        if len(self._features) != len(names):
            raise of_another_run(store.fetch(features_file))

    def by_content(self, contents: np.ndarray) -> Groups:
        """Pictures with the same content; contents: (n,) int64, equal for them."""
        return self._groups(contents[self._rows])

    def by_component(self) -> tuple[Groups, np.ndarray]:
        """The components of two images or more, and the least similarity of the edges of each."""
        rows, component, least = self._components
        number = -1 - np.arange(len(self._rows))  # in no component of two or more: one of its own
        number[np.searchsorted(self._rows, rows)] = component
        return self._groups(number), least[np.unique(component, return_index=True)[1]]

    def _groups(self, number: np.ndarray) -> Groups:
        return Groups(self._rows, number, *self._ranked, self._features)

    @cached_property
    def _components(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Rows, components and least similarities of the images that are in a component of two or more."""
        found = [(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0))]
        if self._store.exists(layout.COMPONENTS):
            path, start = self._store.fetch(layout.COMPONENTS), 0
            for batch in parquet_blocks(path, COMPONENTS.only(["component_id", "count", "min_distance"])):
                rows = np.flatnonzero(batch["count"].to_numpy() > 1)
                several = batch.take(pa.array(rows))
                least = several["min_distance"].fill_null(1.0).to_numpy()
                found.append((start + rows, several["component_id"].to_numpy(), least))
                start += len(batch)
            if start != len(self._names):
                raise of_another_run(path)
        rows, component, least = map(np.concatenate, zip(*found, strict=True))
        return rows, component, least

    @cached_property
    def _rows(self) -> np.ndarray:
        """(m,) int64, rising."""
        return np.unique(np.concatenate([self._components[0], self._copies.copy, self._copies.of]))

    @cached_property
    def _ranked(self) -> tuple[Ranking, np.ndarray]:
        """The order in which they are kept, and the bytes that go with each, (m,) int64."""
        images, names = rows_at(self._facts, self._rows), self._names.take(pa.array(self._rows))
        weights = images["size"].fill_null(0).to_numpy().astype(np.int64)
        weights[references(images)] = 0
        inside = pc.or_(pc.match_substring(names, "!/"), pc.match_substring(names, "#t="))
        for place in np.flatnonzero(inside.to_numpy(zero_copy_only=False)):
            if why_fixed(fsdecode(names[place].as_py()), False):
                weights[place] = 0
        return Ranking(parse_rules(DEFAULT_RULES), images, names), weights
