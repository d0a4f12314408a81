"""Build eight_bit.onnx: `python -m fastdup_ray.neighbors.int8_graph` (needs the package onnx)."""

from pathlib import Path

import numpy as np
from onnx import ModelProto, TensorProto, checker, helper, numpy_helper

from fastdup_ray.neighbors.int8_bruteforce import GRAPH, ZERO


def build_graph() -> ModelProto:
    """Return the graph that `int8_bruteforce.GRAPH` describes."""
    value = helper.make_tensor_value_info
    nodes = [
        helper.make_node("MatMulInteger", ["a", "b", "zero"], ["products"]),
        helper.make_node("TopK", ["products", "k"], ["values", "columns"], axis=1, largest=1, sorted=0),
    ]
    inputs = [value("a", TensorProto.UINT8, ["m", "d"]), value("b", TensorProto.INT8, ["d", "n"])]
    inputs.append(value("k", TensorProto.INT64, [1]))
    outputs = [value("values", TensorProto.INT32, ["m", "found"]), value("columns", TensorProto.INT64, ["m", "found"])]
    zero = numpy_helper.from_array(np.array(ZERO, np.uint8), "zero")
    graph = helper.make_graph(nodes, "eight_bit", inputs, outputs, [zero])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], producer_name="fastdup_ray")
    model.ir_version = 8
    checker.check_model(model)
    return model


if __name__ == "__main__":
    Path(__file__).with_name(GRAPH).write_bytes(build_graph().SerializeToString())
