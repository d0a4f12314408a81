"""The GPUs that this process may use, as reported by nvidia-smi, without starting CUDA."""

import os
import shutil
import subprocess

SECONDS = 10
"""Timeout of nvidia-smi."""


def list_gpus() -> list[str]:
    """List name and memory of the GPUs, such as "NVIDIA A10G, 23028 MiB"; empty if there is no driver."""
    return [", ".join((name, f"{total} MiB")) for name, total, _ in _query()]


def measure_free_gpu_memory() -> int:
    """Return the free memory of the first GPU in bytes; 0 if there is none."""
    return next((int(free) << 20 for _, _, free in _query()), 0)


def _query() -> list[list[str]]:
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    program = shutil.which("nvidia-smi")
    if program is None or visible in ("", "-1"):
        return []
    query = [program, "--query-gpu=name,memory.total,memory.free", "--format=csv,noheader,nounits"]
    try:
        result = subprocess.run(
            [*query, *([f"--id={visible}"] if visible else [])],
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=SECONDS,
        )
    except (OSError, subprocess.TimeoutExpired):
        return []
    rows = [[word.strip() for word in line.split(",")] for line in result.stdout.splitlines()]
    return [row for row in rows if len(row) == 3 and row[2].isdigit()] if result.returncode == 0 else []
