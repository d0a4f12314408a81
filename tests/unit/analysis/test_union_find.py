"""Nodes that edges connect, over blocks of edges."""

import tempfile

import networkx as nx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastdup_ray.analysis import union_find
from fastdup_ray.analysis.union_find import count_linked, label_components

N = 30
EDGES = st.lists(st.tuples(st.integers(0, N - 1), st.integers(0, N - 1)), max_size=40)


@given(st.lists(EDGES, max_size=4))
def test_each_node_has_the_first_of_its_component_and_all_others_are_counted(blocks):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(union_find, "NODES_PER_BLOCK", 7)
        check_components(blocks)


def check_components(blocks):
    graph = nx.Graph()
    graph.add_nodes_from(range(N))
    graph.add_edges_from(edge for block in blocks for edge in block)
    links = (np.array(block, np.int64).reshape(-1, 2).T for block in blocks)
    labels = label_components(((low, high) for low, high in links), N, tempfile.TemporaryFile)
    first = {node: min(part) for part in nx.connected_components(graph) for node in part}
    assert labels.tolist() == [first[node] for node in range(N)]
    assert count_linked(labels) == N - nx.number_connected_components(graph)
