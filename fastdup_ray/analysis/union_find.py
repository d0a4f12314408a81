"""Union-find over blocks of edges."""

from collections.abc import Iterable

import numpy as np

from fastdup_ray.common.arrays import AnyArray, IntArray, get_index_type
from fastdup_ray.common.mapped_arrays import make_array
from fastdup_ray.common.scratch import Scratch

NODES_PER_BLOCK = 1 << 20
"""Nodes that are labelled at a time."""


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


def label_components(links: Iterable[tuple[AnyArray, AnyArray]], n: int, scratch: Scratch) -> AnyArray:
    """Find the connected components of n nodes.

    Args:
        links: Blocks of edges, each as two arrays of nodes.
        n: Number of nodes.
        scratch: Opens a temporary file.

    Returns:
        (n,) int32, or int64 from 2^31 nodes on: the lowest node in the component of each.
    """
    parent = make_array(n, get_index_type(n), scratch)
    for start in range(0, n, NODES_PER_BLOCK):
        parent[start : start + NODES_PER_BLOCK] = np.arange(start, min(start + NODES_PER_BLOCK, n))
    for low, high in links:
        if len(low):
            join_trees(parent, low, high)
    for start in range(0, n, NODES_PER_BLOCK):
        part = slice(start, start + NODES_PER_BLOCK)
        parent[part] = find_roots(parent, parent[part])
    return parent


def count_linked(labels: AnyArray) -> int:
    """Return how many nodes are not the first of their component, from what `label_components` returned."""
    count = 0
    for start in range(0, len(labels), NODES_PER_BLOCK):
        block = labels[start : start + NODES_PER_BLOCK]
        count += int(np.count_nonzero(block != np.arange(start, start + len(block))))
    return count
