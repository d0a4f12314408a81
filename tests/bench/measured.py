"""What a command costs: seconds, CPU seconds and memory of all the processes that it starts."""

import math
import os
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import psutil

EVERY = 0.1
"""Seconds between two looks at the processes."""

MEMORY_EVERY = 5
"""Looks from one at their memory to the next: it takes the kernel long to add that up."""


@dataclass(frozen=True)
class Cost:
    """wall, cpu: seconds. memory: bytes, the most that the whole tree held at once (PSS: shared pages count once)."""

    wall: float
    cpu: float
    memory: int


@dataclass
class ProcessWatch:
    """The processes of a tree. cpu: seconds of each so far. memory: bytes, the most that all held at once (PSS)."""

    root: psutil.Process
    cpu: dict[tuple[int, float], float] = field(default_factory=dict)
    known: dict[int, psutil.Process] = field(default_factory=dict)
    memory: int = 0

    def look(self, *, memory: bool) -> None:
        """A process whose parent died stays known; what a process did after the last look is not seen."""
        for process in [self.root, *self.known.values()]:
            try:
                for child in [process, *process.children(recursive=True)]:
                    self.known.setdefault(child.pid, child)
            except psutil.Error:
                continue
        used = 0
        for pid, process in list(self.known.items()):
            try:
                with process.oneshot():
                    times = process.cpu_times()
                    self.cpu[pid, process.create_time()] = times.user + times.system
                used += process.memory_full_info().pss if memory else 0
            except (psutil.Error, OSError):
                del self.known[pid]
        self.memory = max(self.memory, used)


def measured(command: Sequence[object], environment: Mapping[str, str] | None = None) -> Cost:
    """Runs it to its end; ends this program with what it said where it fails."""
    begin = time.perf_counter()
    process = subprocess.Popen(
        list(map(str, command)),
        env={**os.environ, **(environment or {})},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
    )
    said: list[str] = []
    reader = threading.Thread(target=lambda: said.extend(process.stderr), daemon=True)
    reader.start()
    watch, looks = ProcessWatch(psutil.Process(process.pid)), 0
    while process.poll() is None:
        watch.look(memory=looks % MEMORY_EVERY == 0)
        looks += 1
        time.sleep(EVERY)
    wall = time.perf_counter() - begin
    reader.join(timeout=5)
    if process.returncode:
        sys.exit(f"{command[0]} ended with {process.returncode}: " + "".join(said[-20:]))
    return Cost(wall, sum(watch.cpu.values()), watch.memory)


def measure_exponent(few: int, before: float, many: int, after: float) -> float:
    """Return the exponent of the power by which a cost grows; NaN if there is none."""
    return math.log(after / before) / math.log(many / few) if before > 0 and after > 0 else math.nan
