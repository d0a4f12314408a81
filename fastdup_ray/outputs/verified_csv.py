"""verified_pairs.csv: the confirmed pairs that similarity.csv does not have."""

from collections.abc import Iterator

import numpy as np

from fastdup_ray.analysis.sorting import sort_blocks
from fastdup_ray.analysis.verified_pairs import VerifiedPairs
from fastdup_ray.common import csv_columns, layout
from fastdup_ray.common.arrays import DoubleArray, EmbeddingArray, IntArray
from fastdup_ray.common.mapped_arrays import write_and_map
from fastdup_ray.common.records import Pairs
from fastdup_ray.neighbors.metrics import DECIMALS, compute_pair_values
from fastdup_ray.outputs.images import Images, name_pairs
from fastdup_ray.storage import Store
from fastdup_ray.storage.csv_files import open_csv


def write_verified_csv(
    store: Store, images: Images, features: EmbeddingArray, metric: str, verified: VerifiedPairs, threshold: float
) -> None:
    """Write verified_pairs.csv block by block, the most similar pairs first, then by the bytes of the names.

    Args:
        store: The work_dir.
        images: The n images.
        features: Their (n, d) embeddings.
        metric: Name of the metric of the column `distance`.
        verified: The verified pairs.
        threshold: Similarity above which similarity.csv has them.
    """
    with open_csv(store, layout.VERIFIED_CSV, csv_columns.VERIFIED_HEADER) as write:
        for source, target in _iter_sorted(images, verified, threshold):
            pairs = Pairs(source, target, compute_pair_values(features, source, target, metric))
            evidence = verified.look_up(source, target).columns
            write([*name_pairs(images, images, pairs), pairs.value, *evidence])


def _iter_sorted(images: Images, verified: VerifiedPairs, threshold: float) -> Iterator[tuple[IntArray, IntArray]]:
    """Yield both images of confirmed pairs in the order of the file; of each pair, the first by name comes first."""
    n, order, scratch = len(images), images.order, images.scratch

    def encode() -> Iterator[tuple[IntArray, DoubleArray]]:
        for pairs in verified.iter_confirmed(threshold):
            ranks = order.ranks_of(pairs.source), order.ranks_of(pairs.target)
            yield np.minimum(*ranks) * n + np.maximum(*ranks), pairs.value

    by_name = write_and_map(sort_blocks((ends for ends, _ in encode()), scratch), np.int64, scratch())
    by_similarity = (
        np.rint((1 - similarity) * 10**DECIMALS).astype(np.int64) * len(by_name) + np.searchsorted(by_name, ends)
        for ends, similarity in encode()
    )
    for keys in sort_blocks(by_similarity, scratch):
        source, target = np.divmod(by_name[keys % len(by_name)], n)
        yield order.rows_at(source), order.rows_at(target)
