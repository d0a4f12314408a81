"""What a second node brings, and what one that goes in mid-run costs; on one machine, with one core a node.

python -m tests.bench.nodes --pictures DIR
"""

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path

from ray.cluster_utils import Cluster

from fastdup_ray.common import layout
from tests.helpers.commands import start, summary_of

NODE = {"num_cpus": 1, "object_store_memory": 100 << 20}


def measure(pictures: str, nodes: int, replace: bool = False) -> tuple[float, float]:
    """Seconds for the features, and images a second. replace: one node goes at a third, and another comes at once."""
    cluster = Cluster(initialize_head=True, head_node_args=NODE)
    spots = [cluster.add_node(**NODE) for _ in range(nodes - 1)]
    try:
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder, "out")
            process = start(pictures, "--work-dir", out, "--no-report", RAY_ADDRESS=cluster.address)
            if replace:
                total = sum(len(files) for *_, files in os.walk(pictures))
                while _read(out) < total / 3:
                    time.sleep(0.1)
                cluster.remove_node(spots[0], allow_graceful=False)
                cluster.add_node(**NODE)
            _, err = process.communicate()
            assert process.returncode == 0, err
            summary = summary_of(out)
            seconds = summary["seconds"]["features"]
            return seconds, summary["read"] / seconds
    finally:
        cluster.shutdown()


def _read(work_dir: Path) -> int:
    ranges = filter(None, (layout.parse_range(path.name) for path in work_dir.glob("shards/features-*.shard")))
    return sum(stop - begin for begin, stop in ranges)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", required=True)
    pictures = parser.parse_args().pictures
    results: dict[str, list[tuple[float, float]]] = {}
    for words, nodes, replace in (("one node", 1, False), ("two nodes", 2, False), ("one replaced", 2, True)) * 3:
        seconds, rate = measure(pictures, nodes, replace)
        results.setdefault(words, []).append((seconds, rate))
        print(f"{words:<13} {seconds:6.1f} s  {rate:6.1f} images/s", flush=True)
    for words, runs in results.items():
        seconds, rate = map(statistics.median, zip(*runs, strict=True))
        print(f"median: {words:<13} {seconds:6.1f} s  {rate:6.1f} images/s")


if __name__ == "__main__":
    main()
