"""Union-find over blocks of edges."""

from collections.abc import Iterable

import numpy as np

from fastdup_ray.common.arrays import AnyArray, IntArray, get_index_type


def join_trees(parent: AnyArray, low: AnyArray, high: AnyArray) -> None:
    """Join the trees that edges connect, under the lowest of their roots.

    Args:
        parent: (n,) the parent of each node, itself for a root; changed in place.
        low: (m,) one node of each edge.
        high: (m,) the other one.
    """
    import scipy.sparse as sp
    from scipy.sparse.csgraph import connected_components

    ends = np.concatenate([low, high])
    roots, position = np.unique(find_roots(parent, ends), return_inverse=True)
    between = sp.coo_array((np.ones(len(low), np.int8), np.split(position, 2)), shape=(len(roots), len(roots)))
    _, label = connected_components(between, directed=False)
    least = roots[np.unique(label, return_index=True)[1]]
    parent[roots] = least[label]
    parent[ends] = parent[roots[position]]


def find_roots(parent: AnyArray, nodes: AnyArray) -> AnyArray:
    """Return the root of the tree of each node."""
    while True:
        above: IntArray = parent[nodes]
        if np.array_equal(above, nodes):
            return above
        nodes = above


def count_linked(links: Iterable[tuple[IntArray, IntArray]], n: int) -> int:
    """Return how many of n nodes are not the first of their connected component.

    Args:
        links: Blocks of edges, each as two arrays of nodes.
        n: Number of nodes; memory is 4 bytes for each, and 8 from 2^31 nodes on.
    """
    parent = np.arange(n, dtype=get_index_type(n))
    for low, high in links:
        if len(low):
            join_trees(parent, low, high)
    return int(np.count_nonzero(parent != np.arange(n, dtype=parent.dtype)))
