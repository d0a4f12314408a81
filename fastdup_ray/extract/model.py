"""The ONNX model: from pixels to rows of unit length."""

import hashlib
import platform
from functools import cache
from importlib.resources import files
from pathlib import Path

import numpy as np
import onnxruntime

from fastdup_ray.errors import DamagedError
from fastdup_ray.extract.decode import decoder_fingerprint

SIDE = 128
"""Pixels a side that the embedded model takes."""

DIMENSIONS = 576
"""Numbers in a row."""

BATCH = 16
"""Pictures in one call: every call is padded to it, so that a row does not depend on how many came with it."""

_EMBEDDED = files("fastdup_ray.extract.embedded")


class Model:
    """The embedded model on one CPU thread; `rows` may be called from several threads at once."""

    def __init__(self) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(_checked_bytes(), options, providers=["CPUExecutionProvider"])

    def rows(self, pixels: np.ndarray) -> np.ndarray:
        """(n, SIDE, SIDE, 3) uint8 -> (n, DIMENSIONS) float32, rows of length 1; any n."""
        rows = np.empty((len(pixels), DIMENSIONS), np.float32)
        batch = np.zeros((BATCH, SIDE, SIDE, 3), np.uint8)
        for start in range(0, len(pixels), BATCH):
            part = pixels[start : start + BATCH]
            batch[: len(part)] = part
            rows[start : start + len(part)] = self._session.run(None, {"image": batch})[0][: len(part)]
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def _checked_bytes() -> bytes:
    data = _EMBEDDED.joinpath("model.onnx").read_bytes()
    if hashlib.sha256(data).hexdigest() != _model_sha256():
        raise DamagedError("The embedded model is damaged: install fastdup-ray again.")
    return data


def _model_sha256() -> str:
    return _EMBEDDED.joinpath("model.onnx.sha256").read_text().strip()


@cache
def fingerprint() -> dict[str, str]:
    """All that a row depends on beside the picture: rows with different fingerprints are never mixed."""
    return {
        "model": _model_sha256(),
        "decoder": decoder_fingerprint(),
        "onnxruntime": onnxruntime.__version__,
        "cpu": _cpu_kind(),
    }


def _cpu_kind() -> str:
    """The architecture and the instruction sets by which onnxruntime picks its kernels."""
    known = ("avx2", "avx512f", "avx512_bf16", "avx512_vnni", "avx_vnni", "amx_int8", "asimddp", "i8mm", "sve")
    cpuinfo = Path("/proc/cpuinfo")
    words = set(cpuinfo.read_text(errors="replace").split()) if cpuinfo.exists() else set()
    return " ".join([platform.machine(), *(word for word in known if word in words)])
