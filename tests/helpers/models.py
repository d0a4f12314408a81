"""Models small enough to follow with NumPy."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

WEIGHTS = np.random.default_rng(0).standard_normal((3, 40)).astype(np.float32)


def save_model(
    path: Path,
    *,
    shape: tuple = ("n", 3, 32, 48),
    kind: int = TensorProto.FLOAT,
    weights: np.ndarray = WEIGHTS,
    tail: tuple = (),
    inputs: int = 1,
    outputs: int = 1,
    flat: bool = False,
    metadata: dict[str, str] | None = None,
    **options: Any,
) -> str:
    """Mean colour times `weights`: a graph that numpy can follow. flat: all of the input as it is."""
    axes = [2, 3] if shape[1] == 3 else [1, 2]
    names = [f"input{number}" for number in range(inputs)]
    nodes = [
        helper.make_node("Cast", [names[0]], ["real"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["real", "axes"], ["colour"], keepdims=0),
        helper.make_node("MatMul", ["colour", "weights"], ["row"]),
        helper.make_node("Reshape", ["row", "shape"], ["output0"]),
        *(helper.make_node("Identity", ["row"], [f"output{number}"]) for number in range(1, outputs)),
    ]
    if flat:
        nodes = [nodes[0], helper.make_node("Flatten", ["real"], ["output0"])]
    constants = {"axes": np.array(axes), "weights": weights, "shape": np.array([-1, weights.shape[1], *tail])}
    graph = helper.make_graph(
        nodes,
        "mean colour",
        [helper.make_tensor_value_info(name, kind, shape) for name in names],
        [helper.make_tensor_value_info(f"output{number}", TensorProto.FLOAT, None) for number in range(outputs)],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    helper.set_model_props(model, metadata or {})
    onnx.save_model(model, path, **options)
    return str(path)
