"""Groups of images that are linked, in the order of a plan, in limited memory."""

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import numpy as np

from fastdup_ray.analysis.sorting import sort_blocks, split_by_group
from fastdup_ray.analysis.union_find import label_components
from fastdup_ray.common.arrays import AnyArray, BoolArray, IntArray, get_index_type
from fastdup_ray.common.mapped_arrays import make_array
from fastdup_ray.common.scratch import Scratch

ROWS_PER_BLOCK = 1 << 20
"""Images that are processed at a time."""


class GroupBlock(NamedTuple):
    """The m images of some whole groups.

    Attributes:
        row: (m,) int64 indices of the images; of each group they ascend.
        group: (m,) int64 position of the group of each among all groups, ascending.
        number: (m,) int64 number of that group.
    """

    row: IntArray
    group: IntArray
    number: IntArray


def iter_groups(
    links: Iterable[tuple[AnyArray, AnyArray]],
    n: int,
    find_numbers: Callable[[IntArray], AnyArray] | None,
    scratch: Scratch,
) -> Iterator[GroupBlock]:
    """Find the groups of two or more images that links connect over any number of steps.

    Args:
        links: Blocks of pairs of images.
        n: Number of images.
        find_numbers: Returns numbers of images; the lowest one in a group is that of the group. None: a group has its
            position as its number.
        scratch: Opens a temporary file.

    Yields:
        All groups by their numbers; those of one number, or without numbers, by their first images. A block has about
        `sorting.NUMBERS_PER_BLOCK` images, or more if they are in one group.
    """
    first = label_components(links, n, scratch)
    in_group = _find_members(first, scratch)
    number = make_array(n, np.int64, scratch)  # of each group, at its first image; and so is its position
    if find_numbers is not None:
        _set_lowest(number, first, in_group, find_numbers)
    position = make_array(n, get_index_type(n), scratch)
    heads, groups = (rows[first[rows] == rows] for rows in iter_rows(in_group)), 0
    for block in sort_blocks((number[rows] * n + rows for rows in heads), scratch):
        position[block % n] = np.arange(groups, groups + len(block))
        groups += len(block)
    members = (position[first[rows]].astype(np.int64) * n + rows for rows in iter_rows(in_group))
    for block in split_by_group(sort_blocks(members, scratch), n):
        group, row = np.divmod(block, n)
        yield GroupBlock(row, group, group if find_numbers is None else number[first[row]])


def _find_members(first: AnyArray, scratch: Scratch) -> BoolArray:
    """Return (n,) whether an image is in a group of two or more, given the first image of the group of each."""
    in_group = make_array(len(first), bool, scratch)
    for start in range(0, len(first), ROWS_PER_BLOCK):
        part = first[start : start + ROWS_PER_BLOCK]
        later = np.flatnonzero(part != np.arange(start, start + len(part)))
        in_group[start + later] = in_group[part[later]] = True
    return in_group


def _set_lowest(
    number: IntArray, first: AnyArray, in_group: BoolArray, find_numbers: Callable[[IntArray], AnyArray]
) -> None:
    """Set the number of each group, at its first image, to the lowest number of its images."""
    for rows in iter_rows(in_group):
        own, head = find_numbers(rows), first[rows]
        is_head = head == rows
        number[rows[is_head]] = own[is_head]  # before those of the others, which come later
        np.minimum.at(number, head, own)


def iter_rows(mask: BoolArray) -> Iterator[IntArray]:
    """Yield the indices of the true values of a mask, ascending, in blocks that are not empty."""
    for start in range(0, len(mask), ROWS_PER_BLOCK):
        rows = start + np.flatnonzero(mask[start : start + ROWS_PER_BLOCK])
        if len(rows):
            yield rows
