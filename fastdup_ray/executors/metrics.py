"""What a run counts for whoever watches the cluster: at the metrics endpoint of the driver's node, for Prometheus.

Ray puts `ray_` before each name, and `_total` behind.
"""

from functools import cache

from ray.util.metrics import Counter

from fastdup_ray.common.records import ShardReceipt

IMAGES = ("fastdup_images", "Entries of the list that were read and are good.")
BAD = ("fastdup_bad_images", "Entries of the list that are bad.")
BYTES = ("fastdup_bytes", "Bytes of the files of both.")
STAGE_SECONDS = ("fastdup_stage_seconds", "Seconds that each stage of the run took.")


def count_shard(receipt: ShardReceipt) -> None:
    """A shard was read."""
    for metric, value in ((IMAGES, receipt.good), (BAD, receipt.bad), (BYTES, receipt.size)):
        if value:  # Ray refuses to count nothing
            _get_counter(*metric).inc(value)


def count_stage(stage: str, seconds: float) -> None:
    if seconds > 0:
        _get_counter(*STAGE_SECONDS, "stage").inc(seconds, {"stage": stage})


@cache
def _get_counter(name: str, description: str, *tags: str) -> Counter:
    return Counter(name, description, tags)
