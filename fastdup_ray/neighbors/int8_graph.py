"""Build eight_bit.onnx: `python -m fastdup_ray.neighbors.int8_graph` (needs the package onnx)."""

from pathlib import Path

import numpy as np
from onnx import ModelProto, TensorProto, checker, helper, numpy_helper

from fastdup_ray.neighbors.int8_products import GRAPH, ZERO


def build_graph() -> ModelProto:
    """Return the graph that `int8_products.GRAPH` describes."""
    value = helper.make_tensor_value_info
    nodes = [
        helper.make_node("Transpose", ["b"], ["columns"], perm=[1, 0]),
        helper.make_node("MatMulInteger", ["a", "columns", "zero"], ["products"]),
    ]
    inputs = [value("a", TensorProto.UINT8, ["m", "d"]), value("b", TensorProto.INT8, ["n", "d"])]
    outputs = [value("products", TensorProto.INT32, ["m", "n"])]
    zero = numpy_helper.from_array(np.array(ZERO, np.uint8), "zero")
    graph = helper.make_graph(nodes, "eight_bit", inputs, outputs, [zero])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], producer_name="fastdup_ray")
    model.ir_version = 8
    checker.check_model(model)
    return model


if __name__ == "__main__":
    Path(__file__).with_name(GRAPH).write_bytes(build_graph().SerializeToString())
