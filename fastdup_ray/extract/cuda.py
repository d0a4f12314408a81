"""The model on a GPU: the CUDA provider of onnxruntime, the batch size, and buffers on the device.

Sources: onnxruntime.ai/docs/execution-providers/CUDA-ExecutionProvider.html, onnxruntime.ai/docs/api/python.
"""

import os
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

import numpy as np
import numpy.typing as npt

from fastdup_ray.common.arrays import AnyArray
from fastdup_ray.errors import ConfigError

if TYPE_CHECKING:
    import onnxruntime

PROVIDER = "CUDAExecutionProvider"

OPTIONS = {
    "device_id": "0",  # the first GPU of this process: Ray sets CUDA_VISIBLE_DEVICES
    "arena_extend_strategy": "kSameAsRequested",  # faiss and other actors need memory too
    "cudnn_conv_algo_search": "HEURISTIC",
    "use_tf32": "0",  # TF32 keeps 10 of 23 bits of the mantissa, which changes neighbors
}

LARGEST_BATCH, LEAST_BATCH = 256, 16

BYTES_A_PIXEL = 256
"""Upper bound of the memory that the model needs for one input pixel: 64 channels of float32 (EfficientNet-Lite0 has 32
at half the size)."""

USABLE_SHARE = 0.5
"""Share of the free GPU memory that a batch may take."""


def check_gpu(available: Sequence[str], visible: str | None) -> None:
    """Check that this process has CUDA and a GPU.

    Args:
        available: The execution providers of onnxruntime.
        visible: The value of CUDA_VISIBLE_DEVICES, None if it is not set.

    Raises:
        ConfigError: It has not.
    """
    if PROVIDER not in available:
        raise ConfigError(
            "Invalid value for compute: 'gpu' (this onnxruntime has no CUDA). Use compute='cpu', or install "
            "fastdup-ray[gpu] and run fastdup-ray doctor."
        )
    if visible in ("", "-1"):
        raise ConfigError(
            "Invalid value for compute: 'gpu' (this process was given no GPU: "
            f"CUDA_VISIBLE_DEVICES={visible!r}). Use compute='cpu', or make a GPU visible."
        )


def make_provider() -> tuple[str, dict[str, str]]:
    """Return the CUDA provider and its options for an `InferenceSession`.

    Raises:
        ConfigError: This process has no CUDA or no GPU.
    """
    import onnxruntime

    check_gpu(onnxruntime.get_available_providers(), os.environ.get("CUDA_VISIBLE_DEVICES"))
    if hasattr(onnxruntime, "preload_dlls"):
        onnxruntime.preload_dlls()
    return PROVIDER, OPTIONS


def choose_batch_size(free: int, size: tuple[int, int]) -> int:
    """Choose the number of images in one call of the model: a power of two from 16 to 256.

    It is the same on all GPUs that have a few gigabytes: the last bits of an embedding may depend on the batch size.

    Args:
        free: Free GPU memory in bytes.
        size: Width and height of an image.
    """
    fits = int(USABLE_SHARE * free) // (BYTES_A_PIXEL * size[0] * size[1])
    return max(LEAST_BATCH, min(LARGEST_BATCH, 1 << max(fits, 1).bit_length() - 1))


class IoBinding:
    """A session whose input has a buffer on the device, which each call writes again. One call runs at a time.

    Args:
        session: A session with one input and one output.
        shape: Shape of every batch.
        dtype: Data type of every batch.
        device: "cuda", or "cpu" to do the same without a GPU.
    """

    def __init__(
        self, session: "onnxruntime.InferenceSession", shape: Sequence[int], dtype: npt.DTypeLike, device: str
    ) -> None:
        import onnxruntime

        self._session, self._lock = session, threading.Lock()
        self._output = session.get_outputs()[0].name
        self._buffer = onnxruntime.OrtValue.ortvalue_from_numpy(np.zeros(shape, dtype), device, 0)
        self._binding = session.io_binding()
        self._binding.bind_ortvalue_input(session.get_inputs()[0].name, self._buffer)

    def run(self, batch: AnyArray) -> AnyArray:
        """Return the output for a batch of the shape and data type that were given."""
        with self._lock:
            self._buffer.update_inplace(np.ascontiguousarray(batch))
            self._binding.bind_output(self._output, "cpu")
            self._session.run_with_iobinding(self._binding)
            return cast(AnyArray, self._binding.copy_outputs_to_cpu()[0])
