"""From how many images on a search is partitioned."""

from fastdup_ray.config import AUTO, RunConfig
from fastdup_ray.neighbors.metrics import MANHATTAN

PARTITIONED = "partitioned"
"""Search in cells, without an index: see `neighbors.partitioned`."""

PARTITIONED_ABOVE = 100_000
"""Embeddings above which a search is partitioned; up to it all are compared with all in 8 bits. Measured for 200,000
clustered embeddings of 576 numbers, with VNNI, when each pair was compared twice and cells used floats: 8 bits 127 s of
CPU and recall 1.0; cells 63 s and 0.9965; HNSW32, on an older processor, 287 s and 0.97."""

PARTITIONED_ABOVE_ON_GPU = 2_000_000
"""The same with a GPU, which searches exactly: an H100 compares 200,000 x 576 with each other in a second, and two
million take 4.6 GB, which GPUs have."""

INT8_K = 100
"""Largest k for which the 8-bit search and the partitioned search are chosen."""


def is_partitioned(config: RunConfig, n: int) -> bool:
    """Return whether n embeddings are searched in cells, because the user says so or because of their number.

    This does not depend on the memory.
    """
    if config.nn_provider != "faiss" or config.faiss_mode not in (None, AUTO):
        return config.nn_provider == "faiss" and config.faiss_mode == PARTITIONED
    ranks_like_cosine = config.distance != MANHATTAN
    return ranks_like_cosine and config.nearest_neighbors_k <= INT8_K and n > get_one_index_limit(config)


def get_one_index_limit(config: RunConfig) -> int:
    """Return the number of embeddings above which a search is partitioned, unless the user names an index."""
    return PARTITIONED_ABOVE_ON_GPU if config.compute == "gpu" else PARTITIONED_ABOVE
