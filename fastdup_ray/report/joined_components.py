"""What the components of a run become where confirmed pairs of any similarity count as links, too."""

from collections.abc import Iterable, Iterator

import numpy as np

from fastdup_ray.analysis.union_find import label_components
from fastdup_ray.common.arrays import AnyArray, IntArray, get_index_type
from fastdup_ray.common.mapped_arrays import make_array
from fastdup_ray.common.scratch import Scratch

NODES_PER_BLOCK = 1 << 17
"""Images, or nodes, that are looked at at a time."""


class JoinedComponents:
    """The groups that components of n images form with further links, in arrays that may be mapped from files.

    A node is a component, or an image that is alone in its own. Image i is the node n - 1 - i, and component c the node
    n + c. Groups are numbered from 0 in the order of their lowest nodes; a component that no link joins to another node
    is a group, too.

    Args:
        number: (n,) component of each image, -1 where it is alone.
        links: Blocks of links, each as two arrays of images.
        scratch: Opens a temporary file.
    """

    def __init__(self, number: AnyArray, links: Iterable[tuple[IntArray, IntArray]], scratch: Scratch) -> None:
        self._number, n = number, len(number)
        ends = ((self._find_nodes(source), self._find_nodes(target)) for source, target in links)
        self._labels = label_components(ends, 2 * n, scratch)
        self._is_joined = make_array(2 * n, bool, scratch)  # whether it is the lowest node of a group of several
        for nodes in _split_range(2 * n):
            labels = self._labels[nodes]
            self._is_joined[labels[labels != nodes]] = True
        is_lowest = make_array(2 * n, bool, scratch)  # whether it is that of any group
        for images in _split_range(n):
            nodes = self._find_nodes(images)
            is_lowest[self._labels[nodes[nodes >= n]]] = True
        self._group, count = make_array(2 * n, get_index_type(2 * n), scratch), 0
        for nodes in _split_range(2 * n):
            self._group[nodes] = count + np.cumsum(is_lowest[nodes] | self._is_joined[nodes]) - 1
            count = int(self._group[nodes[-1]]) + 1

    def list_members(self) -> Iterator[tuple[IntArray, IntArray]]:
        """Yield blocks of groups and images: those in a group of several nodes, in the order of the images."""
        for images in _split_range(len(self._number)):
            labels = self._labels[self._find_nodes(images)]
            is_member = self._is_joined[labels]
            yield self._group[labels[is_member]].astype(np.int64), images[is_member]

    def list_replaced(self) -> IntArray:
        """Return the ascending components that are in a group of several nodes."""
        n = len(self._number)
        parts = (components[self._is_joined[self._labels[n + components]]] for components in _split_range(n))
        return np.concatenate([np.empty(0, np.int64), *parts])

    def _find_nodes(self, images: IntArray) -> IntArray:
        number = self._number[images].astype(np.int64)
        return np.where(number >= 0, len(self._number) + number, len(self._number) - 1 - images)


def _split_range(n: int) -> Iterator[IntArray]:
    """Yield the numbers below n, `NODES_PER_BLOCK` at a time."""
    return (np.arange(start, min(start + NODES_PER_BLOCK, n)) for start in range(0, n, NODES_PER_BLOCK))
