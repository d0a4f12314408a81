"""Runs of mode 2 on a Ray cluster of this machine: what they cost, and the death of a worker in the midst of them."""

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import psutil
from ray.cluster_utils import Cluster

from tests.bench.measured import ProcessWatch
from tests.helpers.commands import command

EVERY = 0.5
"""Seconds between two looks at the workers."""

ALL_EVERY = 10
"""Looks from one at the memory of all processes to the next."""

SEARCHES = ("search_cell", "search_added")
"""Steps that are killed."""

STEPS = (
    *("hash_block", "learn_centers", "divide_part", "split_part", *SEARCHES),
    *("merge_neighbors", "read_sample", "find_closer_in_block"),
)


@dataclass
class Seen:
    """What a run took.

    Attributes:
        wall: Seconds.
        cpu: CPU seconds of all processes.
        worker: Most bytes that a worker of the search had for itself.
        all: Most bytes that all processes had at once, with the cluster and this process (PSS).
        killed: Number of workers that were killed.
    """

    wall: float = 0.0
    cpu: float = 0.0
    worker: int = 0
    all: int = 0
    killed: int = 0


@contextmanager
def start_cluster(nodes: int, cores: int) -> Iterator[str]:
    """Yield the address of a Ray whose nodes share so many cores."""
    node = {"num_cpus": max(1, cores // nodes), "object_store_memory": 200 << 20}
    cluster = Cluster(initialize_head=True, head_node_args=node | {"include_dashboard": False})
    try:
        for _ in range(nodes - 1):
            cluster.add_node(**node)
        yield cluster.address
    finally:
        cluster.shutdown()


def run(work_dir: Path, mode: str, *options: object, address: str, kill_at: int | None = None) -> Seen:
    """Run mode 2. kill_at: how many times somebody has to be seen searching before one of them is killed."""
    words = command("--work-dir", work_dir, "--run-mode", 2, "--faiss-mode", mode, "--no-report", *options)
    seen, begin, watch = Seen(), time.perf_counter(), ProcessWatch(psutil.Process())
    watch.look(memory=False)
    before = sum(watch.cpu.values())
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, env={**os.environ, "RAY_ADDRESS": address})
    looks = searching = 0
    while process.poll() is None:
        workers = _workers()
        seen.worker = max([seen.worker, *(worker.uss for worker in workers.values())])
        watch.look(memory=looks % ALL_EVERY == 0)
        looks += 1
        victims = [pid for pid, worker in workers.items() if worker.step in SEARCHES]
        searching += bool(victims)
        if kill_at is not None and victims and searching >= kill_at and not seen.killed:
            os.kill(victims[0], signal.SIGKILL)
            seen.killed += 1
        time.sleep(EVERY)
    assert process.returncode == 0
    seen.wall, seen.cpu, seen.all = time.perf_counter() - begin, sum(watch.cpu.values()) - before, watch.memory
    return seen


class Worker(NamedTuple):
    step: str
    uss: int


def _workers() -> dict[int, Worker]:
    """Those of the search, by pid."""
    workers = {}
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            words = " ".join(process.cmdline())
            step = next((step for step in STEPS if f"ray::{step}" in words), None)
            if step is not None:
                workers[process.pid] = Worker(step, process.memory_full_info().uss)
    return workers
