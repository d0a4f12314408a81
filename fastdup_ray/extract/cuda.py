"""The model on a GPU: the provider, how many pictures at a time, and the way there and back.

Sources: onnxruntime.ai/docs/execution-providers/CUDA-ExecutionProvider.html, onnxruntime.ai/docs/api/python.
"""

import os
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fastdup_ray.errors import ConfigError

if TYPE_CHECKING:
    import onnxruntime

PROVIDER = "CUDAExecutionProvider"

OPTIONS = {
    "device_id": "0",  # the first that this process was given: Ray sets CUDA_VISIBLE_DEVICES
    "arena_extend_strategy": "kSameAsRequested",  # faiss, and other actors, want memory too
    "cudnn_conv_algo_search": "HEURISTIC",
    "use_tf32": "0",  # 10 bits of 23: neighbours would change
}

LARGEST_BATCH, LEAST_BATCH = 256, 16

BYTES_A_PIXEL = 256
"""That a picture takes in the model, at most: 64 channels of float32 (EfficientNet-Lite0: 32 at half the size)."""

USABLE_SHARE = 0.5
"""Part of the memory that is free which a batch may take."""


def check_gpu(available: Sequence[str], visible: str | None) -> None:
    """`ConfigError` where this process has no CUDA, or was given no GPU. visible: CUDA_VISIBLE_DEVICES."""
    if PROVIDER not in available:
        raise ConfigError(
            "compute='gpu' is not possible: this onnxruntime has no CUDA; install fastdup-ray[gpu] instead of [cpu], "
            "or leave compute out."
        )
    if visible in ("", "-1"):
        raise ConfigError("compute='gpu' is not possible: this process was given no GPU (CUDA_VISIBLE_DEVICES).")


def make_provider() -> tuple[str, dict[str, str]]:
    """For an `InferenceSession`; raises `ConfigError` where there can be none."""
    import onnxruntime

    check_gpu(onnxruntime.get_available_providers(), os.environ.get("CUDA_VISIBLE_DEVICES"))
    if hasattr(onnxruntime, "preload_dlls"):
        onnxruntime.preload_dlls()
    return PROVIDER, OPTIONS


def choose_batch_size(free: int, size: tuple[int, int]) -> int:
    """Pictures of `size` (width, height) in one call: a power of two, from 16 to 256, by the bytes that are free.

    The same on all GPUs that have some gigabytes: a row may depend, in its last bits, on how many come with it.
    """
    fits = int(USABLE_SHARE * free) // (BYTES_A_PIXEL * size[0] * size[1])
    return max(LEAST_BATCH, min(LARGEST_BATCH, 1 << max(fits, 1).bit_length() - 1))


class IoBinding:
    """A session whose batches are written to one place on the device, and whose answers are read from there.

    device: "cuda"; "cpu" does the same without a GPU. One call at a time.
    """

    def __init__(self, session: "onnxruntime.InferenceSession", shape: Sequence[int], kind: Any, device: str):
        import onnxruntime

        self._session, self._lock = session, threading.Lock()
        self._output = session.get_outputs()[0].name
        self._place = onnxruntime.OrtValue.ortvalue_from_numpy(np.zeros(shape, kind), device, 0)
        self._binding = session.io_binding()
        self._binding.bind_ortvalue_input(session.get_inputs()[0].name, self._place)

    def run(self, batch: np.ndarray) -> np.ndarray:
        """The answers to a batch of the shape and kind that were given."""
        with self._lock:
            self._place.update_inplace(np.ascontiguousarray(batch))
            self._binding.bind_output(self._output, "cpu")
            self._session.run_with_iobinding(self._binding)
            return self._binding.copy_outputs_to_cpu()[0]
