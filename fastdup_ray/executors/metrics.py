"""Metrics for Prometheus, at the metrics endpoint of the driver's node.

Ray adds the prefix `ray_` and the suffix `_total` to each name.
"""

from functools import cache

from ray.util.metrics import Counter

from fastdup_ray.common.records import ShardReceipt

IMAGES = ("fastdup_images", "Entries of the list that were read and are good.")
BAD = ("fastdup_bad_images", "Entries of the list that are bad.")
BYTES = ("fastdup_bytes", "Bytes of the files of both.")
STAGE_SECONDS = ("fastdup_stage_seconds", "Seconds that each stage of the run took.")


def count_shard(receipt: ShardReceipt) -> None:
    """Count the entries of a shard that was read."""
    for metric, value in ((IMAGES, receipt.good), (BAD, receipt.bad), (BYTES, receipt.size)):
        if value:  # Ray refuses to add 0
            _get_counter(*metric).inc(value)


def count_stage(stage: str, seconds: float) -> None:
    """Count the seconds of a stage that has ended."""
    if seconds > 0:
        _get_counter(*STAGE_SECONDS, "stage").inc(seconds, {"stage": stage})


@cache
def _get_counter(name: str, description: str, *tags: str) -> Counter:
    return Counter(name, description, tags)
