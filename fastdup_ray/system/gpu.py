"""The GPUs of this process, as NVIDIA's driver tells of them: no CUDA is started to ask."""

import os
import shutil
import subprocess

SECONDS = 10


def count_gpus() -> list[str]:
    """Name and memory of each GPU that this process may use; none where there is no driver."""
    return [", ".join((name, f"{total} MiB")) for name, total, _ in _query()]


def measure_free_gpu_memory() -> int:
    """Bytes that are free on the first of them; 0 where there is none."""
    return next((int(free) << 20 for _, _, free in _query()), 0)


def _query() -> list[list[str]]:
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    program = shutil.which("nvidia-smi")
    if program is None or visible in ("", "-1"):
        return []
    query = [program, "--query-gpu=name,memory.total,memory.free", "--format=csv,noheader,nounits"]
    try:
        told = subprocess.run(
            [*query, *([f"--id={visible}"] if visible else [])],
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=SECONDS,
        )
    except (OSError, subprocess.TimeoutExpired):
        return []
    rows = [[word.strip() for word in line.split(",")] for line in told.stdout.splitlines()]
    return [row for row in rows if len(row) == 3 and row[2].isdigit()] if told.returncode == 0 else []
