"""The ONNX model, which turns pixels into embeddings of unit length."""

import hashlib
import platform
from collections.abc import Iterable
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import cast

import numpy as np

from fastdup_ray.common.arrays import AnyArray, ByteArray, FloatArray
from fastdup_ray.common.facts import Fingerprint
from fastdup_ray.common.records import Box
from fastdup_ray.errors import ConfigError, DamagedError
from fastdup_ray.extract import cuda
from fastdup_ray.extract.decode import make_decoder_fingerprint
from fastdup_ray.extract.onnx_session import make_model_error, open_session, read_model_file, shorten_error
from fastdup_ray.extract.preprocessing import Preprocessing, parse_preprocessing
from fastdup_ray.extract.resize import Fit
from fastdup_ray.system.gpu import measure_free_gpu_memory

SIDE = 128
"""Width and height of the images that the embedded models take."""

DIMENSIONS = 576
"""Numbers in an embedding of the embedded models."""

FAST = "fast"
"""The embedded model that computes with whole numbers, as a path of a model: files have absolute paths."""

BATCH = 8
"""Images in one call of a model with an open batch axis. Smaller batches are padded to it: the last bits of an
embedding may depend on the batch size."""

UNIT = 1e-5
"""Largest difference from 1 of the length of an embedding."""

OPEN_SIDE = 224
"""Width and height of the images for a model that leaves them open."""

_EMBEDDED = files("fastdup_ray.extract.embedded")
_EMBEDDED_FILES = {None: "model.onnx", FAST: "fast.onnx"}
_OUT_OF_MEMORY = ("allocat", "out of memory")
"""Parts of the messages of onnxruntime ("bad allocation", "failed to allocate") and of CUDA."""

_DTYPES: dict[str, type[np.uint8] | type[np.float32]] = {"tensor(uint8)": np.uint8, "tensor(float)": np.float32}


class Model:
    """An ONNX model on one CPU thread or one GPU. `embed` may be called from several threads at once.

    Args:
        path: An ONNX file with one image as input and one vector as output; None for the embedded model, `FAST` for the
            other one.
        gpu: Run it on the GPU of this process.

    Attributes:
        size: Width and height of the images that it takes.
        batch: Number of images in one call.
        fit: How an image is fitted to `size`.
        dimensions: Numbers in an embedding.
        sha256: Digest of the file.

    Raises:
        ConfigError: The file cannot be read or is no such model, or there is no GPU to run it.
        DamagedError: The embedded model is damaged.
    """

    def __init__(self, path: str | None = None, *, gpu: bool = False) -> None:
        self._path = path
        data = read_model_file(path) if path and not is_embedded(path) else _read_embedded(path)
        self.sha256 = hashlib.sha256(data).hexdigest()
        self._session = open_session(data, path, gpu=gpu)
        preprocessing = self._read_metadata()
        self._read_graph(preprocessing)
        self.fit = Fit(trim=True) if is_embedded(path) else preprocessing.fit
        if gpu and not self._fixed:
            self.batch = cuda.choose_batch_size(measure_free_gpu_memory(), self.size)
        width, height = self.size
        shape = (self.batch, 3, height, width) if self._channels_first else (self.batch, height, width, 3)
        self._binding = cuda.IoBinding(self._session, shape, self._dtype, "cuda") if gpu else None
        self.dimensions = self._probe_dimensions()

    def embed(self, pixels: ByteArray) -> FloatArray:
        """Return the embeddings of images.

        Args:
            pixels: (n, height, width, 3) uint8, RGB, of the model's `size`.

        Returns:
            (n, dimensions) float32 of unit length. An embedding is all NaN where the model's output cannot be scaled to
            that: zeros, NaN, infinities, or values whose squares overflow.

        Raises:
            MemoryError: There is too little memory for the model.
        """
        embeddings = np.empty((len(pixels), self.dimensions), np.float32)
        batch = np.zeros((self.batch, *pixels.shape[1:]), np.uint8)
        for start in range(0, len(pixels), self.batch):
            part = pixels[start : start + self.batch]
            batch[: len(part)] = part
            embeddings[start : start + len(part)] = self._run_batch(batch)[: len(part)]
        return scale_to_unit(embeddings)

    def _run_batch(self, pixels: ByteArray) -> AnyArray:
        """Return the model's output for a full batch, without trailing axes of length 1."""
        batch: AnyArray = pixels
        if self._dtype is np.float32:
            batch = (batch * self._scale + self._shift).astype(np.float32)
        if self._is_bgr:
            batch = batch[..., ::-1]
        if self._channels_first:
            batch = batch.transpose(0, 3, 1, 2)
        batch = np.ascontiguousarray(batch)
        try:
            output = self._binding.run(batch) if self._binding else self._session.run(None, {self._input: batch})[0]
        except Exception as error:
            if any(words in str(error).lower() for words in _OUT_OF_MEMORY):
                raise MemoryError("too little memory for the model") from None
            raise
        while output.ndim > 2 and output.shape[-1] == 1:
            output = output[..., 0]
        return cast(AnyArray, output)

    def _read_metadata(self) -> Preprocessing:
        try:
            return parse_preprocessing(self._session.get_modelmeta().custom_metadata_map)
        except ValueError as error:
            raise self._make_error(str(error)) from None

    def _read_graph(self, preprocessing: Preprocessing) -> None:
        """Read from the graph what the model takes: input name, data type, layout, size and batch size."""
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        if len(inputs) != 1 or len(outputs) != 1:
            raise self._make_error(f"it must have one input and one output, not {len(inputs)} and {len(outputs)}")
        shape, dtype = list(inputs[0].shape), inputs[0].type
        if dtype not in _DTYPES:
            raise self._make_error(f"its input must be uint8 or float32, not {dtype}")
        if len(shape) != 4 or 3 not in (shape[1], shape[3]):
            raise self._make_error(
                f"its input must be (n, 3, height, width) or (n, height, width, 3), not {_format_shape(shape)}"
            )
        self._input, self._dtype = inputs[0].name, _DTYPES[dtype]
        self._channels_first = shape[1] == 3
        height, width = shape[2:] if self._channels_first else shape[1:3]
        _, default_height, default_width = preprocessing.input_size or (3, OPEN_SIDE, OPEN_SIDE)
        self.size = _get_side(width, default_width), _get_side(height, default_height)
        if preprocessing.input_size and self.size != (default_width, default_height):
            size = ",".join(map(str, preprocessing.input_size))
            raise self._make_error(f"its input is {_format_shape(shape)}, but input_size={size!r} in its metadata")
        self._fixed = isinstance(shape[0], int)
        self.batch = shape[0] if self._fixed else BATCH
        if min(*self.size, self.batch) < 1:
            raise self._make_error(f"its input has no pixels: {_format_shape(shape)}")
        self._is_bgr = preprocessing.channel_order == "BGR"
        mean, std = np.array(preprocessing.mean), np.array(preprocessing.std)
        self._scale, self._shift = (1 / (255 * std)).astype(np.float32), (-mean / std).astype(np.float32)

    def _probe_dimensions(self) -> int:
        """Return the numbers in an embedding, by running the model: many graphs do not say."""
        width, height = self.size
        try:
            output = self._run_batch(np.zeros((self.batch, height, width, 3), np.uint8))
        except Exception as error:
            raise self._make_error(f"it fails on {width} x {height} pixels: {shorten_error(error)}") from None
        fits = output.ndim == 2 and len(output) == self.batch and output.shape[1] > 0
        if not fits or not np.issubdtype(output.dtype, np.floating):
            actual = f"{output.dtype} {_format_shape(output.shape)} for {self.batch} images"
            raise self._make_error(f"its output must be (n, d) floating-point numbers, not {actual}")
        return int(output.shape[1])

    def _make_error(self, reason: str) -> ConfigError:
        return make_model_error(self._path, reason)


def scale_to_unit(embeddings: FloatArray) -> FloatArray:
    """Scale embeddings, (n, d) float32, to unit length in place; all NaN where that cannot be done (see `embed`)."""
    with np.errstate(all="ignore"):
        embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)
        embeddings[~(np.abs(np.linalg.norm(embeddings, axis=1) - 1) < UNIT)] = np.nan
    return embeddings


def _get_side(side: object, default: int) -> int:
    """Return a side of the input, which is None or a name where the graph leaves it open."""
    return side if isinstance(side, int) else default


def _format_shape(shape: Iterable[object]) -> str:
    return f"({', '.join('?' if side is None else str(side) for side in shape)})"


def is_embedded(path: str | None) -> bool:
    """Return whether a model path names one of the embedded models."""
    return path in _EMBEDDED_FILES


def get_embedded_sha256(name: str | None = None) -> str:
    """Return the digest of an embedded model.

    Raises:
        DamagedError: The file does not match its digest.
    """
    _read_embedded(name)
    return _get_model_sha256(name)


def shows_whole_images(fingerprint: Fingerprint) -> bool:
    """Return whether embeddings are those of an embedded model for whole images, not for a bounding box of them."""
    return fingerprint["model"] in map(_get_model_sha256, _EMBEDDED_FILES) and "bounding_box" not in fingerprint


def _read_embedded(name: str | None = None) -> bytes:
    data = _EMBEDDED.joinpath(_EMBEDDED_FILES[name]).read_bytes()
    if hashlib.sha256(data).hexdigest() != _get_model_sha256(name):
        raise DamagedError("The embedded model is damaged. Reinstall fastdup-ray.")
    return data


def _get_model_sha256(name: str | None = None) -> str:
    return _EMBEDDED.joinpath(f"{_EMBEDDED_FILES[name]}.sha256").read_text(encoding="ascii").strip()


@cache
def make_fingerprint(
    model: str | None = None, box: Box | None = None, *, gpu: bool = False, transforms: tuple[str, ...] = ()
) -> Fingerprint:
    """Return all that an embedding depends on besides the image.

    Embeddings with different fingerprints are never mixed.

    Args:
        model: The sha256 of the model; None for the embedded one.
        box: The bounding box that each image is cropped to.
        gpu: Whether the model runs on a GPU.
        transforms: Names of the transforms whose embeddings an embedding consists of; () for the image itself.
    """
    import onnxruntime

    parts = {
        "model": model or _get_model_sha256(),
        "decoder": make_decoder_fingerprint(),
        "onnxruntime": onnxruntime.__version__,
    }
    # With whole numbers all CPUs of an architecture give the same embeddings.
    is_exact = parts["model"] == _get_model_sha256(FAST) and not gpu
    parts["cpu"] = platform.machine() if is_exact else _describe_cpu()
    if box is not None:
        parts["bounding_box"] = str(box)
    if gpu:
        parts["compute"] = "gpu"
    if transforms:
        parts["turns"] = ",".join(transforms)
    return parts


@cache
def _describe_cpu() -> str:
    """Return the architecture and the instruction sets by which onnxruntime chooses its kernels."""
    relevant = ("avx2", "avx512f", "avx512_bf16", "avx512_vnni", "avx_vnni", "amx_int8", "asimddp", "i8mm", "sve")
    cpuinfo = Path("/proc/cpuinfo")
    present = set(cpuinfo.read_text(encoding="utf-8", errors="replace").split()) if cpuinfo.exists() else set()
    return " ".join([platform.machine(), *(name for name in relevant if name in present)])
