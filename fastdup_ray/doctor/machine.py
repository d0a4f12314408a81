"""What this machine, or its container, leaves to a run."""

import os
import shutil
from pathlib import Path

from fastdup_ray.doctor import Finding, State
from fastdup_ray.s3 import is_s3

LEAST_MEMORY = 1 << 30
LEAST_DISK = 1 << 30
"""Bytes below which a run of some thousand pictures may already end for lack of them."""

SHARED_MEMORY = Path("/dev/shm")


def check_gpu(*, needed: bool) -> Finding:
    from fastdup_ray.system.gpu import list_gpus

    found = list_gpus()
    try:
        import onnxruntime

        cuda = "CUDAExecutionProvider" in onnxruntime.get_available_providers()
    except Exception:
        cuda = False
    lacks = ([] if found else ["no GPU (nvidia-smi finds none)"]) + ([] if cuda else ["onnxruntime has no CUDA"])
    if not lacks:
        return Finding("gpu", State.OK, ", ".join(found))
    if needed:
        return Finding("gpu", State.BROKEN, f"{'; '.join(lacks)}: install fastdup-ray[gpu] on a machine with a GPU")
    return Finding("gpu", State.OK if len(lacks) == 2 else State.NOTE, f"{'; '.join(lacks)}: compute=cpu only")


def check_cores() -> Finding:
    from fastdup_ray.system.cores import count_cores

    return Finding("cores", State.OK, f"{count_cores()} of {os.cpu_count()} for this process")


def check_memory() -> Finding:
    from fastdup_ray.system.memory import measure_free_memory

    free = measure_free_memory()
    text = f"{_size(free)} free"
    if SHARED_MEMORY.exists():
        text += f", {_size(shutil.disk_usage(SHARED_MEMORY).free)} of shared memory for Ray"
    return Finding("memory", State.OK if free >= LEAST_MEMORY else State.NOTE, text)


def check_disk(work_dir: str) -> Finding:
    """Of the work_dir; of the temporary folder, where that is a bucket, or is not there yet."""
    place = Path("/tmp") if is_s3(work_dir) else Path(os.path.abspath(work_dir))
    place = next(folder for folder in (place, *place.parents) if folder.exists())
    free = shutil.disk_usage(place).free
    if not os.access(place, os.W_OK):
        return Finding("disk", State.NOTE, f"{place} cannot be written: give --work-dir another")
    return Finding("disk", State.OK if free >= LEAST_DISK else State.NOTE, f"{_size(free)} free below {place}")


def _size(count: int) -> str:
    return f"{count / 1e9:,.1f} GB"
