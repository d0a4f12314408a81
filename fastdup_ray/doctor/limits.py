"""Limits of this machine that a run of a given size would meet: files, memory maps, disk, memory of each stage."""

import os
import resource
import shutil
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from fastdup_ray.config import RunConfig
from fastdup_ray.doctor.findings import Finding, State
from fastdup_ray.doctor.machine import find_folder
from fastdup_ray.errors import ConfigError
from fastdup_ray.extract.model import DIMENSIONS
from fastdup_ray.neighbors.search_plan import format_bytes, plan_search
from fastdup_ray.runs.stage_memory import RunSize, StageMemory, estimate_disk, estimate_files, estimate_stages
from fastdup_ray.system.memory import measure_free_memory

NEEDED_FILES = 1_024
"""Files that Ray and the processes of a run may have open, whatever the number of images."""

NEEDED_MAPS = 65_530
"""Memory maps of a process: the kernel's default. Their number does not grow with that of images."""

_MOST_MAPS = Path("/proc/sys/vm/max_map_count")


def check_limits(n: int, work_dir: str) -> Iterator[Finding]:
    """Check what a run of n images with default parameters needs of this machine.

    Args:
        n: Number of images.
        work_dir: Where outputs are to be written.
    """
    yield _check_files()
    yield _check_maps()
    yield _check_disk(n, work_dir)
    yield _check_inodes(n, work_dir)
    yield from _check_memory(n, work_dir)


def _check_files() -> Finding:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if most == resource.RLIM_INFINITY or most >= NEEDED_FILES:
        return Finding("open files", State.OK, f"enough: {NEEDED_FILES:,} do for any number of images")
    text = f"a process may open {most:,}; Ray needs {NEEDED_FILES:,}: raise the hard limit"
    return Finding("open files", State.NOTE, text, (f"ulimit -Hn {NEEDED_FILES}",))


def _check_maps() -> Finding:
    try:
        most = int(_MOST_MAPS.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return Finding("memory maps", State.OK, "no limit is known here")
    if most >= NEEDED_MAPS:
        return Finding("memory maps", State.OK, f"enough: {most:,}, and their number does not grow with that of images")
    text = f"vm.max_map_count is {most:,}, below the usual {NEEDED_MAPS:,}"
    return Finding("memory maps", State.NOTE, text, (f"sudo sysctl -w vm.max_map_count={NEEDED_MAPS}",))


def _check_disk(n: int, work_dir: str) -> Finding:
    folder = find_folder(work_dir)
    free, need = shutil.disk_usage(folder).free, estimate_disk(_configure(work_dir), _measure(n))
    state = State.OK if free >= need else State.BROKEN
    text = f"{n:,} images take up to {format_bytes(need)} while a run works; {format_bytes(free)} free in {folder}"
    return Finding("disk for images", state, text)


def _check_inodes(n: int, work_dir: str) -> Finding:
    folder = find_folder(work_dir)
    free, need = os.statvfs(folder).f_favail, estimate_files(_measure(n))
    if os.statvfs(folder).f_files == 0:  # such as on Btrfs
        return Finding("number of files", State.OK, f"{folder} has no limit")
    text = f"{n:,} images take up to {need:,} files while a run works; {folder} has room for {free:,}"
    return Finding("number of files", State.OK if free >= need else State.BROKEN, text)


def _check_memory(n: int, work_dir: str) -> Iterator[Finding]:
    """Yield a finding for each stage."""
    config, free = _configure(work_dir), measure_free_memory()
    try:
        plan = plan_search(config, n, DIMENSIONS, free)
    except ConfigError as error:
        yield Finding("search", State.BROKEN, str(error))
        plan = None
    memory: StageMemory = estimate_stages(config, _measure(n), plan)
    for stage, size in asdict(memory).items():
        if size:
            text = f"takes up to {format_bytes(size)} for {n:,} images; {format_bytes(free)} free here"
            yield Finding(stage, State.OK if size <= free else State.BROKEN, text)


def _configure(work_dir: str) -> RunConfig:
    return RunConfig.of(input_dir=os.curdir, work_dir=work_dir)


def _measure(n: int) -> RunSize:
    return RunSize.of_images(n, DIMENSIONS)
