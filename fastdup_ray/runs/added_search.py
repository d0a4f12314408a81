"""Whether a partitioned search updates the neighbors of an earlier one, or searches all images."""

from dataclasses import replace

from fastdup_ray.executors import Executor
from fastdup_ray.neighbors.partitioned.added import prepare_added
from fastdup_ray.neighbors.partitioned.earlier_search import find_earlier
from fastdup_ray.neighbors.partitioned.embedding_digests import (
    format_digests_folder,
    format_digests_name,
    hash_block,
)
from fastdup_ray.neighbors.partitioned.partition_layout import PartitionLayout
from fastdup_ray.storage import Store


def plan_added(executor: Executor, store: Store, plan: PartitionLayout, code: dict[str, str]) -> PartitionLayout:
    """Return the layout of a search that updates kept neighbors if these are nearly those of its images.

    Args:
        executor: Runs the steps.
        store: The work_dir.
        plan: The layout of a search of all images. It is returned if all have to be searched.
        code: What neighbors depend on besides features and parameters.
    """
    earlier = executor.call("index", find_earlier, store, plan, code)
    if earlier is None:
        return plan
    hash_embeddings(executor, store, plan)
    update = replace(plan, earlier=earlier.digest)
    return update if executor.call("index", prepare_added, store, update, earlier) else plan


def hash_embeddings(executor: Executor, store: Store, plan: PartitionLayout) -> None:
    """Write the digests of all embeddings, but for those that are there."""
    there = set(store.names(format_digests_folder(plan)))
    missing = [number for number in range(plan.blocks) if format_digests_name(plan, number) not in there]
    items = [(store, plan, number) for number in missing]
    for _ in executor.map(hash_block, items, plan.estimate_memory(plan.block)):
        pass
