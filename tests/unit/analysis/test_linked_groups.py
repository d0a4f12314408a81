"""Groups of linked images come as a plan lists them, whatever a block holds."""

import tempfile

import networkx as nx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastdup_ray.analysis import linked_groups, sorting, union_find
from fastdup_ray.analysis.linked_groups import iter_groups

N = 40
LINKS = st.lists(st.lists(st.tuples(st.integers(0, N - 1), st.integers(0, N - 1)), max_size=15), max_size=3)
NUMBERS = st.one_of(st.none(), st.lists(st.integers(0, N - 1), min_size=N, max_size=N))


@given(LINKS, NUMBERS, st.integers(1, 9), st.integers(1, 9))
def test_groups_come_by_number_and_first_image_in_blocks_of_whole_groups(links, numbers, rows, keys):
    with pytest.MonkeyPatch.context() as patch:
        for module, name, size in (
            (linked_groups, "ROWS_PER_BLOCK", rows),
            (union_find, "NODES_PER_BLOCK", rows),
            (sorting, "NUMBERS_PER_RUN", 2 * keys),
            (sorting, "NUMBERS_PER_BLOCK", keys),
        ):
            patch.setattr(module, name, size)
        check_groups(links, None if numbers is None else np.array(numbers))


def check_groups(links, numbers):
    graph = nx.Graph(edge for block in links for edge in block)
    groups = sorted(sorted(part) for part in nx.connected_components(graph) if len(part) > 1)
    labels = range(len(groups)) if numbers is None else [int(numbers[group].min()) for group in groups]
    labelled = sorted(zip(labels, groups, strict=True))
    expected = [(row, place, label) for place, (label, group) in enumerate(labelled) for row in group]
    ends = (np.array(block, np.int64).reshape(-1, 2).T for block in links)
    find_numbers = None if numbers is None else numbers.__getitem__
    blocks = [*iter_groups(((low, high) for low, high in ends), N, find_numbers, tempfile.TemporaryFile)]
    found = [row for block in blocks for row in zip(*(column.tolist() for column in block), strict=True)]
    assert found == expected
    assert sum(len(np.unique(block.group)) for block in blocks) == len(groups)
