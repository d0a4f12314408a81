"""The ONNX model: from pixels to rows of unit length."""

import hashlib
import json
import os
import platform
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fastdup_ray.common.facts import Fingerprint
from fastdup_ray.common.records import Box
from fastdup_ray.common.regular_file import open_regular
from fastdup_ray.errors import ConfigError, DamagedError
from fastdup_ray.extract import cuda
from fastdup_ray.extract.decode import decoder_fingerprint
from fastdup_ray.system.gpu import measure_free_gpu_memory

if TYPE_CHECKING:
    import onnxruntime

SIDE = 128
"""Pixels a side that the embedded model takes."""

DIMENSIONS = 576
"""Numbers in a row of the embedded model."""

BATCH = 8
"""Pictures in one call, where the graph leaves it open: every call is padded, so that a row does not depend on how many
came with it."""

UNIT = 1e-5
"""What a row's length may be off from 1."""

OPEN_SIDE = 224
"""Pixels a side for a model that takes pictures of any size."""

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of red, green and blue between 0 and 1: what the models of torchvision and timm are given."""

_EMBEDDED = files("fastdup_ray.extract.embedded")
_OUT_OF_MEMORY = ("allocat", "out of memory")
"""Of onnxruntime (bad allocation, failed to allocate), and of CUDA."""

_KINDS = {"tensor(uint8)": np.uint8, "tensor(float)": np.float32}


class Model:
    """The embedded model, or the ONNX file at `path`, on one CPU thread or one GPU.

    size: (width, height) of the pictures that it takes. batch: how many at a time. trims: whether it takes them without
    margins. dimensions: numbers in a row. sha256: of the file.
    `rows` may be called from several threads at once. Raises `ConfigError` for a file that is not a picture in, one row
    out, and where `gpu` is asked for and cannot be used.
    """

    def __init__(self, path: str | None = None, *, gpu: bool = False):
        self._name = f"model_path={path!r}" if path else "The embedded model"
        data = _read_file(path) if path else _read_embedded()
        self.trims = path is None
        self.sha256 = hashlib.sha256(data).hexdigest()
        self._session = self._open_session(data, gpu)
        self._read_graph()
        if gpu and not self._fixed:
            self.batch = cuda.choose_batch_size(measure_free_gpu_memory(), self.size)
        width, height = self.size
        shape = (self.batch, 3, height, width) if self._channels_first else (self.batch, height, width, 3)
        self._bound = cuda.IoBinding(self._session, shape, self._kind, "cuda") if gpu else None
        self.dimensions = self._probe_dimensions()

    def embed(self, pixels: np.ndarray) -> np.ndarray:
        """(n, height, width, 3) uint8, RGB -> (n, dimensions) float32, rows of length 1; any n.

        A row is all NaN where the model's answer has no direction: zeros, no numbers, or such as no length can be told.
        """
        rows = np.empty((len(pixels), self.dimensions), np.float32)
        batch = np.zeros((self.batch, *pixels.shape[1:]), np.uint8)
        for start in range(0, len(pixels), self.batch):
            part = pixels[start : start + self.batch]
            batch[: len(part)] = part
            rows[start : start + len(part)] = self._run_batch(batch)[: len(part)]
        with np.errstate(all="ignore"):
            rows /= np.linalg.norm(rows, axis=1, keepdims=True)
            rows[~(np.abs(np.linalg.norm(rows, axis=1) - 1) < UNIT)] = np.nan
        return rows

    def _run_batch(self, batch: np.ndarray) -> np.ndarray:
        """What the model says to a full batch; raises `MemoryError` where there is too little for it."""
        if self._kind is np.float32:
            batch = (batch * self._scale + self._shift).astype(np.float32)
        if self._channels_first:
            batch = np.ascontiguousarray(batch.transpose(0, 3, 1, 2))
        try:
            answers = self._bound.run(batch) if self._bound else self._session.run(None, {self._input: batch})[0]
        except Exception as error:
            if any(words in str(error).lower() for words in _OUT_OF_MEMORY):
                raise MemoryError("the model has too little memory") from None
            raise
        while answers.ndim > 2 and answers.shape[-1] == 1:
            answers = answers[..., 0]
        return answers

    def _open_session(self, data: bytes, gpu: bool) -> "onnxruntime.InferenceSession":
        import onnxruntime  # takes a fifth of a second: only for who needs it

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.log_severity_level = 4
        options.use_deterministic_compute = gpu
        # Weights in a second file would not be in the fingerprint; and they would be sought in the current folder.
        options.add_session_config_entry("session.model_external_initializers_file_folder_path", os.devnull)
        providers = [cuda.make_provider()] if gpu else ["CPUExecutionProvider"]
        try:
            session = onnxruntime.InferenceSession(data, options, providers=providers)
        except Exception as error:  # onnxruntime has a class of its own for each reason
            if "external" in str(error).lower():
                raise self._make_refusal(
                    "its weights are in another file; export it into one (external_data=False)"
                ) from None
            raise self._make_refusal(f"onnxruntime cannot open it ({_shorten_error(error)})") from None
        if gpu and session.get_providers()[0] != cuda.PROVIDER:
            raise ConfigError("compute='gpu' is not possible: CUDA does not start on this machine; see its driver.")
        return session

    def _read_graph(self) -> None:
        """What the model takes."""
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        if len(inputs) != 1 or len(outputs) != 1:
            raise self._make_refusal(f"it should have one input and one output, not {len(inputs)} and {len(outputs)}")
        shape, kind = list(inputs[0].shape), inputs[0].type
        if kind not in _KINDS:
            raise self._make_refusal(f"its input should be uint8 or float32, not {kind}")
        if len(shape) != 4 or 3 not in (shape[1], shape[3]):
            raise self._make_refusal(
                f"its input should be (n, 3, height, width) or (n, height, width, 3), not {_format_shape(shape)}"
            )
        self._input, self._kind = inputs[0].name, _KINDS[kind]
        self._channels_first = shape[1] == 3
        height, width = shape[2:] if self._channels_first else shape[1:3]
        self.size = tuple(side if isinstance(side, int) else OPEN_SIDE for side in (width, height))
        self._fixed = isinstance(shape[0], int)
        self.batch = shape[0] if self._fixed else BATCH
        if min(*self.size, self.batch) < 1:
            raise self._make_refusal(f"its input has no pixels: {_format_shape(shape)}")
        mean, std = (self._read_numbers(*told) for told in (("mean", IMAGENET_MEAN), ("std", IMAGENET_STD)))
        if not np.all(std > 0):
            raise self._make_refusal("std in its metadata should be above 0")
        self._scale, self._shift = (1 / (255 * std)).astype(np.float32), (-mean / std).astype(np.float32)

    def _read_numbers(self, name: str, default: tuple[float, ...]) -> np.ndarray:
        """One number, or one for each of red, green and blue, from the model's metadata."""
        text = self._session.get_modelmeta().custom_metadata_map.get(name)
        try:
            numbers = np.array(default if text is None else json.loads(f"[{text.strip().strip('[]()')}]"), np.float64)
        except (ValueError, TypeError):
            numbers = np.array([np.nan])
        if numbers.shape not in ((1,), (3,)) or not np.isfinite(numbers).all():
            raise self._make_refusal(
                f"{name}={text!r} in its metadata should be one number or three with commas between"
            )
        return numbers

    def _probe_dimensions(self) -> int:
        """By a try: graphs often leave it open."""
        width, height = self.size
        try:
            answers = self._run_batch(np.zeros((self.batch, height, width, 3), np.uint8))
        except Exception as error:
            raise self._make_refusal(f"it fails on {width} x {height} pixels ({_shorten_error(error)})") from None
        fits = answers.ndim == 2 and len(answers) == self.batch and answers.shape[1] > 0
        if not fits or not np.issubdtype(answers.dtype, np.floating):
            got = f"{answers.dtype} {_format_shape(answers.shape)} for {self.batch} pictures"
            raise self._make_refusal(f"its output should be (n, d) real numbers, not {got}")
        return answers.shape[1]

    def _make_refusal(self, reason: str) -> ConfigError:
        return ConfigError(f"{self._name} is not possible: {reason}.")


def _read_file(path: str) -> bytes:
    try:
        with open_regular(path) as file:
            return file.read()
    except MemoryError:
        raise ConfigError(f"model_path={path!r} does not fit into memory on {platform.node()}.") from None
    except OSError as error:
        raise ConfigError(
            f"model_path={path!r} cannot be read on {platform.node()}: {error.strerror}; "
            "name an ONNX file that each node has."
        ) from None


def _format_shape(shape: Any) -> str:
    return f"({', '.join('?' if side is None else str(side) for side in shape)})"


def _shorten_error(error: Exception) -> str:
    """The gist of onnxruntime's long messages."""
    return " ".join(str(error).rpartition(" : ")[2].split())[:200].rstrip(". ")


def get_embedded_sha256() -> str:
    """Of the embedded model; `DamagedError` where it is not what it was."""
    _read_embedded()
    return _get_model_sha256()


def _read_embedded() -> bytes:
    data = _EMBEDDED.joinpath("model.onnx").read_bytes()
    if hashlib.sha256(data).hexdigest() != _get_model_sha256():
        raise DamagedError("The embedded model is damaged: install fastdup-ray again.")
    return data


def _get_model_sha256() -> str:
    return _EMBEDDED.joinpath("model.onnx.sha256").read_text(encoding="ascii").strip()


@cache
def make_fingerprint(
    model: str | None = None, box: Box | None = None, *, gpu: bool = False, turns: tuple[str, ...] = ()
) -> Fingerprint:
    """All that a row depends on beside the picture: rows with different fingerprints are never mixed.

    model: sha256 of another model than the embedded one. turns: of which a row has those of a picture, side by side.
    """
    import onnxruntime

    parts = {
        "model": model or _get_model_sha256(),
        "decoder": decoder_fingerprint(),
        "onnxruntime": onnxruntime.__version__,
        "cpu": _describe_cpu(),
    }
    if box is not None:
        parts["bounding_box"] = str(box)
    if gpu:
        parts["compute"] = "gpu"
    if turns:
        parts["turns"] = ",".join(turns)
    return parts


@cache
def _describe_cpu() -> str:
    """The architecture and the instruction sets by which onnxruntime picks its kernels."""
    known = ("avx2", "avx512f", "avx512_bf16", "avx512_vnni", "avx_vnni", "amx_int8", "asimddp", "i8mm", "sve")
    cpuinfo = Path("/proc/cpuinfo")
    words = set(cpuinfo.read_text(encoding="utf-8", errors="replace").split()) if cpuinfo.exists() else set()
    return " ".join([platform.machine(), *(word for word in known if word in words)])
