"""Checks of this machine, or its container: GPU, cores, memory and disk."""

import os
import shutil
from pathlib import Path

from fastdup_ray.common.locations import is_remote
from fastdup_ray.doctor.findings import Finding, State

LEAST_MEMORY = 1 << 30
LEAST_DISK = 1 << 30
"""Bytes below which a run of some thousand images may fail."""

SHARED_MEMORY = Path("/dev/shm")


def check_gpu(*, needed: bool) -> Finding:
    """Check that there is a GPU, and an onnxruntime that can use it.

    Args:
        needed: Whether it is an error if there is none.
    """
    from fastdup_ray.system.gpu import list_gpus

    gpus = list_gpus()
    try:
        import onnxruntime

        cuda = "CUDAExecutionProvider" in onnxruntime.get_available_providers()
    except Exception:
        cuda = False
    missing = ([] if gpus else ["no GPU (nvidia-smi finds none)"]) + ([] if cuda else ["onnxruntime has no CUDA"])
    if not missing:
        return Finding("gpu", State.OK, ", ".join(gpus))
    if needed:
        fix = () if cuda else ("pip install 'fastdup-ray[gpu]'",)
        return Finding("gpu", State.BROKEN, f"{'; '.join(missing)}", fix)
    return Finding("gpu", State.OK if len(missing) == 2 else State.NOTE, f"{'; '.join(missing)}: --compute cpu only")


def check_cores() -> Finding:
    """Return how many cores this process may use."""
    from fastdup_ray.system.cores import count_cores

    return Finding("cores", State.OK, f"{count_cores()} of {os.cpu_count()} for this process")


def check_memory() -> Finding:
    """Check the free memory, and the shared memory that Ray uses."""
    from fastdup_ray.system.memory import measure_free_memory

    free = measure_free_memory()
    text = f"{_format_gigabytes(free)} free"
    if SHARED_MEMORY.exists():
        text += f", {_format_gigabytes(shutil.disk_usage(SHARED_MEMORY).free)} of shared memory for Ray"
    return Finding("memory", State.OK if free >= LEAST_MEMORY else State.NOTE, text)


def find_folder(work_dir: str) -> Path:
    """Return the work_dir or its nearest folder that exists; /tmp if the work_dir is in a bucket."""
    path = Path("/tmp") if is_remote(work_dir) else Path(os.path.abspath(work_dir))
    return next(parent for parent in (path, *path.parents) if parent.exists())


def check_disk(work_dir: str) -> Finding:
    """Check the free space of the work_dir or its nearest folder; of /tmp if the work_dir is in a bucket."""
    folder = find_folder(work_dir)
    free = shutil.disk_usage(folder).free
    if not os.access(folder, os.W_OK):
        return Finding("disk", State.NOTE, f"cannot write to {folder}: use another --work-dir")
    return Finding(
        "disk", State.OK if free >= LEAST_DISK else State.NOTE, f"{_format_gigabytes(free)} free in {folder}"
    )


def _format_gigabytes(size: int) -> str:
    return f"{size / 1e9:,.1f} GB"
