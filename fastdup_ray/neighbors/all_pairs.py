"""Compare embeddings with each other in 8-bit integers: each product serves both of its embeddings.

The result does not depend on the number of threads: candidates are the same in whatever order they are added.
"""

from collections.abc import Iterator
from threading import Lock

import numpy as np

from fastdup_ray.common.arrays import IntArray
from fastdup_ray.neighbors.candidate_lists import NO_PRODUCT, CandidateLists
from fastdup_ray.neighbors.int8_products import Quantized, multiply
from fastdup_ray.system.threads import map_threads

PART = 1_024
"""Embeddings on each side of a block of products. More would not fit into the caches."""

BLOCK_BYTES = 16 << 20
"""Memory of a thread that compares two parts: the products, and what is selected of them."""


def estimate_blocks(n: int, threads: int) -> int:
    """Return the memory that `compare_all` takes for n embeddings, besides what it is given."""
    return BLOCK_BYTES * min(threads, -(-n // PART))


def compare_all(quantized: Quantized, lists: CandidateLists, threads: int) -> None:
    """Compare all embeddings with each other.

    Args:
        quantized: The m embeddings.
        lists: Candidates of the m embeddings, to update.
        threads: Threads to use.
    """
    _compare_each_other(quantized, split(np.arange(len(quantized))), lists, threads)


def compare_with_all(quantized: Quantized, chosen: IntArray, lists: CandidateLists, threads: int) -> None:
    """Compare some embeddings with each other and with all others.

    Args:
        quantized: The m embeddings.
        chosen: (c,) int64, the indices of these, ascending.
        lists: Candidates of the m embeddings, to update.
        threads: Threads to use.
    """
    is_other = np.ones(len(quantized), bool)
    is_other[chosen] = False
    parts, others = split(chosen), split(np.flatnonzero(is_other))
    _compare_each_other(quantized, parts, lists, threads)
    own, locks = [quantized[part] for part in parts], [Lock() for _ in parts]

    def compare(number: int) -> None:
        other = others[number]
        theirs = quantized[other]
        for turn in range(len(parts)):
            i = (number + turn) % len(parts)
            products = multiply(own[i], theirs)
            lists.update(other, products.T, parts[i])
            with locks[i]:
                lists.update(parts[i], products, other)

    map_threads(threads, compare, range(len(others)))


def _compare_each_other(quantized: Quantized, parts: list[IntArray], lists: CandidateLists, threads: int) -> None:
    map_threads(threads, lambda part: _compare_within(quantized, part, lists), parts)
    for pairs in _pair_up(len(parts)):  # no part is in two pairs, so that no two threads update a list
        map_threads(threads, lambda pair: _compare_parts(quantized, parts[pair[0]], parts[pair[1]], lists), pairs)


def compare_group(quantized: Quantized, group: IntArray, lists: CandidateLists) -> None:
    """Compare some embeddings with each other, on one thread.

    Args:
        quantized: The m embeddings.
        group: (g,) int64, their indices, ascending.
        lists: Candidates of the m embeddings, to update.
    """
    parts = split(group)
    for number, part in enumerate(parts):
        _compare_within(quantized, part, lists)
        for other in parts[:number]:
            _compare_parts(quantized, other, part, lists)


def split(indices: IntArray) -> list[IntArray]:
    """Split indices into parts of one size, `PART` at most."""
    return np.array_split(indices, -(-len(indices) // PART)) if len(indices) else []


def _compare_within(quantized: Quantized, part: IntArray, lists: CandidateLists) -> None:
    own = quantized[part]
    products = multiply(own, own)
    np.fill_diagonal(products, NO_PRODUCT)
    lists.update(part, products, part)


def _compare_parts(quantized: Quantized, part: IntArray, other: IntArray, lists: CandidateLists) -> None:
    products = multiply(quantized[part], quantized[other])
    lists.update(part, products, other)
    lists.update(other, products.T, part)


def _pair_up(count: int) -> Iterator[list[tuple[int, int]]]:
    """Yield the pairs of a round-robin tournament of so many players, turn by turn; in a turn, none plays twice."""
    even = count + count % 2
    for turn in range(even - 1):
        pairs = [(turn, even - 1), *(((turn + i) % (even - 1), (turn - i) % (even - 1)) for i in range(1, even // 2))]
        yield [(min(pair), max(pair)) for pair in pairs if max(pair) < count]
