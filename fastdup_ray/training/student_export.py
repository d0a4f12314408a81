"""Export the student to an ONNX file whose embeddings are the same on every CPU, to the last bit.

Everything is a sum of whole numbers, or a rounding of one number. The convolutions are QLinearConv. The head computes
with whole numbers in float32 that stay below 2**24, so that their sums are exact in any order: vectors are scaled to
unit length and rounded to `STEPS` steps, and weights to 8 bits, fewer where a sum could become too large. What is left
are single operations of IEEE 754, which all CPUs round alike: products, quotients, square roots.
"""

import math
from typing import Any, NamedTuple, cast

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, numpy_helper
from torch import nn

from fastdup_ray.common.arrays import DoubleArray
from fastdup_ray.extract.model import DIMENSIONS, SIDE
from fastdup_ray.training.export import OPSET
from fastdup_ray.training.network import CHROMA_SIDE, FLAT_NORM, GRID_SIDE, LUMA_SIDE
from fastdup_ray.training.student import (
    LARGEST_ACTIVATION,
    LAST,
    LENGTHS,
    LUMA_WEIGHTS,
    PIXEL_SCALE,
    PIXEL_ZERO,
    Layer,
    Student,
)

NAME, VERSION = "fastdup_ray-fast", "1"
IR_VERSION = 10
EXACT = 2.0**24 - 1
"""Below it float32 has all whole numbers."""

STEPS = 2048
"""A number of a vector of unit length is rounded to 1 / STEPS."""

LARGEST_WEIGHT = 127
SQUARABLE = 2.0**20
"""Squares of up to 2**13 whole numbers below it have an exact sum in float64."""

CELL_STEPS = 4  # a mean over cells is rounded to 1 / CELL_STEPS of an activation's last bit
GRID_LIMIT = 2.0**15  # of a number of the grid: less the mean of 16 cells and folded, it stays below SQUARABLE * 2
THUMBNAIL_STEPS = 64  # of a gray level
CONTRAST_STEPS = 512  # of a number of the thumbnails divided by the contrast

Array = npt.NDArray[Any] | np.generic


class _Whole(NamedTuple):
    """Whole numbers in float32 that stand for vectors.

    Attributes:
        name: The tensor, (..., d).
        step: What 1 stands for.
        length: The largest possible length of a vector of these numbers.
    """

    name: str
    step: float
    length: float


class _Graph:
    """Nodes and constants of a graph in the making."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def add(self, operator: str, *inputs: str | Array, output: str | None = None, **attributes: Any) -> str:
        """Add a node, whose inputs are tensors or constants; return its output."""
        names = [value if isinstance(value, str) else self._add_constant(value) for value in inputs]
        output = output or f"{operator.lower()}_{len(self.nodes)}"
        self.nodes.append(onnx.helper.make_node(operator, names, [output], **attributes))
        return output

    def _add_constant(self, value: Array) -> str:
        name = f"constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def add_linear(self, x: _Whole, layer: nn.Linear, limit: float) -> _Whole:
        """Add a linear layer whose outputs are rounded to whole numbers up to `limit`, most far below it."""
        weight = _to_double(layer.weight).T * x.step
        bias = np.zeros(weight.shape[1]) if layer.bias is None else _to_double(layer.bias)
        most = x.length * np.linalg.norm(weight, axis=0) + np.abs(bias)
        unit = np.maximum(np.maximum(np.abs(weight).max(0) / LARGEST_WEIGHT, most / (0.9 * EXACT)), 1e-30)
        rounded, rounded_bias = np.rint(weight / unit), np.rint(bias / unit)
        largest = x.length * np.linalg.norm(rounded, axis=0) + np.abs(rounded_bias)
        if largest.max() > EXACT:
            raise ValueError("sums of the head are not exact")
        weights = self.add("Cast", rounded.astype(np.int8), to=TensorProto.FLOAT)
        sums = self.add("MatMul", x.name, weights)
        if layer.bias is not None:
            sums = self.add("Add", sums, rounded_bias.astype(np.float32))
        step = float((largest * unit).max() / limit)
        name = self.add("Round", self.add("Mul", sums, (unit / step).astype(np.float32)))
        spread = x.length * np.linalg.norm(rounded * unit, 2) + np.linalg.norm(rounded_bias * unit)
        return _Whole(name, step, float(spread / step) + _slack(len(unit)))

    def add_unit(self, x: str, numbers: int, length: float = 1.0) -> _Whole:
        """Scale vectors of whole numbers to `length`, and round them to steps of 1 / STEPS."""
        scaled = self.add("Mul", self.scale_to_unit(x), np.float64(length * STEPS))
        name = self.add("Cast", self.add("Round", scaled), to=TensorProto.FLOAT)
        return _Whole(name, 1 / STEPS, length * STEPS + _slack(numbers))

    def scale_to_unit(self, x: str, least: float = 1.0) -> str:
        """Divide vectors of whole numbers by their length, or by `least` if that is more; the result is float64."""
        x = self.add("Cast", x, to=TensorProto.DOUBLE)
        length = self.add("ReduceL2", x, np.array([-1]), keepdims=1)
        return self.add("Div", x, self.add("Max", length, np.float64(least)))

    def fold_mirror(self, x: str, channels: int, side: int) -> str:
        """Fold (n, channels, side, side) into (n, channels * side * side): twice what `network.fold_mirror` returns."""
        half = np.array([side // 2])
        left = self.add("Slice", x, np.array([0]), half, np.array([3]))
        right = self.add("Slice", x, np.array([side - 1]), half - 1, np.array([3]), np.array([-1]))
        both = self.add("Add", left, right), self.add("Abs", self.add("Sub", left, right))
        return self.add("Reshape", self.add("Concat", *both, axis=3), np.array([-1, channels * side * side]))


def export_student(student: Student) -> bytes:
    """Return the ONNX file: `image` (batch, 128, 128, 3) uint8 in, `features` (batch, 576) float32 out."""
    graph = _Graph()
    pixels = graph.add("Transpose", "image", perm=[0, 3, 1, 2])
    activations, scale = _add_layers(graph, pixels, student)
    head = student.head
    content, values = _add_cells(graph, activations, scale, student)
    thumbnails = graph.add_linear(_add_thumbnails(graph, pixels), head.thumbnails, SQUARABLE)
    blocks = [
        graph.add_unit(graph.add_linear(content, head.content, SQUARABLE).name, head.content.out_features, LENGTHS[0]),
        graph.add_unit(graph.add_linear(values, head.grid, SQUARABLE).name, head.grid.out_features, LENGTHS[1]),
        graph.add_unit(thumbnails.name, head.thumbnails.out_features, LENGTHS[2]),
    ]
    length = float(np.linalg.norm([block.length for block in blocks]))
    mapped = _Whole(graph.add("Concat", *(block.name for block in blocks), axis=1), 1 / STEPS, length)
    hidden = graph.add_linear(mapped, head.hidden, SQUARABLE / 64)
    hidden = hidden._replace(name=graph.add("Relu", hidden.name))
    parts = [graph.add_linear(mapped, head.rotation, SQUARABLE / 2), graph.add_linear(hidden, head.more, SQUARABLE / 2)]
    step = max(part.step for part in parts)
    scaled = [graph.add("Mul", part.name, np.float32(part.step / step)) for part in parts]
    total = graph.add("Round", graph.add("Add", *scaled))
    graph.add("Cast", graph.scale_to_unit(total), to=TensorProto.FLOAT, output="features")
    return _make_file(graph)


def _add_layers(graph: _Graph, x: str, student: Student) -> tuple[str, float]:
    """Add the convolutions; return the activations, uint8, and what their last bit stands for."""
    scale, zero = np.float32(PIXEL_SCALE), np.uint8(PIXEL_ZERO)
    for layer in map(_to_layer, student.layers):
        kernel, unit = layer.round_weight()
        rounded = np.rint(_to_double(kernel) / _to_double(unit)[:, None, None, None]).astype(np.int8)
        weight_scale, out_scale = _to_double(unit).astype(np.float32), np.float32(layer.scale.item())
        bias = np.rint(_to_double(layer.conv.bias) / (float(scale) * weight_scale.astype(float))).astype(np.int32)
        x = graph.add(
            "QLinearConv",
            x,
            scale,
            zero,
            rounded,
            weight_scale,
            np.zeros(len(rounded), np.int8),
            out_scale,
            np.uint8(0),
            bias,
            kernel_shape=list(layer.conv.kernel_size),
            strides=list(layer.conv.stride),
            pads=[*layer.conv.padding] * 2,
        )
        scale, zero = out_scale, np.uint8(0)
    return x, float(scale)


def _add_cells(graph: _Graph, activations: str, scale: float, student: Student) -> tuple[_Whole, _Whole]:
    """Return the mean activations, (n, 256), and the grid, folded and of unit length, (n, 768)."""
    x = graph.add("Cast", activations, to=TensorProto.FLOAT)
    means = graph.add("AveragePool", x, kernel_shape=[2, 2], strides=[2, 2])
    pooled = graph.add("Mul", means, np.float32(CELL_STEPS))
    content = graph.add("Round", graph.add("ReduceMean", pooled, np.array([2, 3]), keepdims=0))
    largest = LARGEST_ACTIVATION * CELL_STEPS * LAST**0.5
    cells = graph.add("Transpose", graph.add("Reshape", pooled, np.array([-1, LAST, GRID_SIDE**2])), perm=[0, 2, 1])
    channels = student.head.channels
    values = graph.add_linear(_Whole(cells, scale / CELL_STEPS, largest), channels, GRID_LIMIT).name
    total = graph.add("ReduceSum", values, np.array([1]), keepdims=1)
    centered = graph.add("Sub", graph.add("Mul", values, np.float32(GRID_SIDE**2)), total)
    grid = graph.add("Transpose", centered, perm=[0, 2, 1])
    grid = graph.add("Reshape", grid, np.array([-1, channels.out_features, GRID_SIDE, GRID_SIDE]))
    numbers = channels.out_features * GRID_SIDE**2
    folded = graph.add_unit(graph.fold_mirror(grid, channels.out_features, GRID_SIDE), numbers)
    return _Whole(content, scale / CELL_STEPS, largest), folded


def _add_thumbnails(graph: _Graph, pixels: str) -> _Whole:
    """Return what `network.Thumbnails` does, (n, 96)."""
    x = graph.add("Cast", pixels, to=TensorProto.FLOAT)
    side, ratio = SIDE // LUMA_SIDE, LUMA_SIDE // CHROMA_SIDE
    fine = graph.add("AveragePool", x, kernel_shape=[side, side], strides=[side, side])
    coarse = graph.add("AveragePool", fine, kernel_shape=[ratio, ratio], strides=[ratio, ratio])
    weights = np.array(LUMA_WEIGHTS)
    chroma_weights = np.array([[0, 0, 1], [1, 0, 0]]) - weights
    luma = _mix_colors(graph, fine, weights[None], LUMA_SIDE)
    luma = graph.add("Sub", luma, graph.add("ReduceMean", luma, np.array([2, 3]), keepdims=1))
    whole_luma = graph.add("Round", graph.add("Mul", luma, np.float64(THUMBNAIL_STEPS)))
    chroma = _mix_colors(graph, coarse, chroma_weights, CHROMA_SIDE)
    whole_chroma = graph.add("Round", graph.add("Mul", chroma, np.float64(THUMBNAIL_STEPS)))
    flat = graph.add("Reshape", whole_luma, np.array([-1, LUMA_SIDE**2]))
    contrast = graph.add("ReduceL2", flat, np.array([-1]), keepdims=1)
    contrast = graph.add("Max", contrast, np.float64(FLAT_NORM * THUMBNAIL_STEPS))
    folded = graph.fold_mirror(whole_luma, 1, LUMA_SIDE), graph.fold_mirror(whole_chroma, 2, CHROMA_SIDE)
    divided = graph.add("Div", graph.add("Concat", *folded, axis=1), contrast)
    rounded = graph.add("Round", graph.add("Mul", divided, np.float64(CONTRAST_STEPS / 2)))  # folding doubled them
    numbers = LUMA_SIDE**2 + 2 * CHROMA_SIDE**2
    length = np.hypot(1, 255 / FLAT_NORM * (2 * CHROMA_SIDE**2) ** 0.5)
    whole = graph.add("Cast", rounded, to=TensorProto.FLOAT)
    return _Whole(whole, 1 / CONTRAST_STEPS, float(length) * CONTRAST_STEPS + _slack(numbers))


def _mix_colors(graph: _Graph, x: str, weights: DoubleArray, side: int) -> str:
    """Return weighted sums of the colors of (n, 3, side, side), in float64, which has all their digits."""
    flat = graph.add("Cast", graph.add("Reshape", x, np.array([-1, 3, side * side])), to=TensorProto.DOUBLE)
    return graph.add("Reshape", graph.add("MatMul", weights, flat), np.array([-1, len(weights), side, side]))


def _make_file(graph: _Graph) -> bytes:
    make_info = onnx.helper.make_tensor_value_info
    image = make_info("image", TensorProto.UINT8, ["batch", SIDE, SIDE, 3])
    features = make_info("features", TensorProto.FLOAT, ["batch", DIMENSIONS])
    proto = onnx.helper.make_model(
        onnx.helper.make_graph(graph.nodes, NAME, [image], [features], graph.constants),
        opset_imports=[onnx.helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
    )
    onnx.helper.set_model_props(proto, {"name": NAME, "version": VERSION, "licence": "Apache-2.0"})
    onnx.checker.check_model(proto, full_check=True)
    return cast(bytes, proto.SerializeToString(deterministic=True))


def _slack(numbers: int) -> float:
    """Return how much longer a vector may become by rounding."""
    return 0.5 * math.sqrt(numbers)


def _to_double(tensor: Any) -> DoubleArray:
    return cast(DoubleArray, tensor.detach().double().numpy())


def _to_layer(module: nn.Module) -> Layer:
    return cast(Layer, module)
