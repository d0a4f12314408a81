"""Convert a module of torch to an ONNX file, and compare the two."""

import logging
import os
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import onnxscript  # noqa: F401 (torch needs it, and says so late)
import torch

from fastdup_ray.common.arrays import FloatArray
from fastdup_ray.errors import FastdupError, InputError
from fastdup_ray.extract.model import scale_to_unit
from fastdup_ray.extract.onnx_session import open_session
from fastdup_ray.model_export.towers import Tower

TOLERANCE = 1e-4
"""By how much a number of an embedding, of unit length, may differ from torch's."""

LARGEST = 2**31
"""Bytes of the largest message of protobuf, and so of an ONNX file with its weights inside."""

_INPUT, _OUTPUT = "input", "output"


@dataclass(frozen=True)
class ConvertedTower:
    """An ONNX file.

    Attributes:
        content: Its bytes.
        dimensions: Numbers in an embedding.
        difference: By how much one of them, of an embedding of unit length, differs from torch's at most.
    """

    content: bytes
    dimensions: int
    difference: float


def convert(tower: Tower, metadata: Mapping[str, str]) -> ConvertedTower:
    """Convert a tower, with an open batch axis.

    Args:
        tower: A module and its examples.
        metadata: For `metadata_props` of the file.

    Raises:
        InputError: It gives no embeddings, or is too large for one file.
        FastdupError: It cannot be converted, or the file does not give the embeddings of torch.
    """
    with torch.no_grad():
        expected = tower.module(tower.examples)
    if not isinstance(expected, torch.Tensor) or expected.ndim != 2 or len(expected) != len(tower.examples):
        raise InputError("Cannot export this checkpoint: it does not give one embedding for each image.")
    size = sum(weight.numel() * weight.element_size() for weight in tower.module.parameters())
    if size >= LARGEST:
        raise InputError(f"Cannot export this checkpoint: one ONNX file cannot hold {size / 2**30:.1f} GiB of weights.")
    try:
        content = _write(tower, metadata)
    except Exception as error:  # torch raises what it likes
        reason = str(error).strip().partition("\n")[0][:200]
        raise FastdupError(f"torch {torch.__version__} cannot convert this checkpoint to ONNX: {reason}") from None
    session = open_session(content, "the exported file")
    actual = np.concatenate(
        [session.run(None, {_INPUT: part.numpy()})[0] for part in (tower.examples[:1], tower.examples[1:])]
    )
    difference = _measure_difference(actual, expected.numpy())
    if not difference <= TOLERANCE:
        raise FastdupError(f"The exported file differs from torch by {difference:.1e}; {TOLERANCE:.0e} is allowed.")
    return ConvertedTower(content, expected.shape[1], difference)


def _write(tower: Tower, metadata: Mapping[str, str]) -> bytes:
    """Return the content of the file."""
    axes: dict[str, Any] = {"dynamo": True, "dynamic_shapes": ({0: torch.export.Dim("n")},)}
    if isinstance(tower.module, torch.jit.ScriptModule):  # which the newer exporter does not take
        axes = {"dynamo": False, "dynamic_axes": {_INPUT: {0: "n"}, _OUTPUT: {0: "n"}}}
    with tempfile.TemporaryDirectory() as folder, torch.no_grad(), _quiet():
        path = os.path.join(folder, "model.onnx")
        torch.onnx.export(
            tower.module,
            (tower.examples,),
            path,
            input_names=[_INPUT],
            output_names=[_OUTPUT],
            external_data=False,
            verbose=False,
            **axes,
        )
        model = onnx.load(path)
    onnx.helper.set_model_props(model, dict(metadata))
    content: bytes = model.SerializeToString()
    return content


def _measure_difference(actual: FloatArray, expected: FloatArray) -> float:
    pairs = [scale_to_unit(embeddings.astype(np.float32)) for embeddings in (actual, expected)]
    return float(np.abs(pairs[0] - pairs[1]).max())


@contextmanager
def _quiet() -> Iterator[None]:
    """Hide the messages of torch about its exporter."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
