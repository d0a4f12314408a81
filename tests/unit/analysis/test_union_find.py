"""Nodes that edges connect, over blocks of edges."""

import networkx as nx
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from fastdup_ray.analysis.union_find import count_linked

N = 30
EDGES = st.lists(st.tuples(st.integers(0, N - 1), st.integers(0, N - 1)), max_size=40)


@given(st.lists(EDGES, max_size=4))
def test_all_but_one_node_of_each_component_are_counted(blocks):
    graph = nx.Graph()
    graph.add_nodes_from(range(N))
    graph.add_edges_from(edge for block in blocks for edge in block)
    links = (np.array(block, np.int64).reshape(-1, 2).T for block in blocks)
    assert count_linked(((low, high) for low, high in links), N) == N - nx.number_connected_components(graph)
