"""Models small enough to follow with NumPy."""

import hashlib
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


COLORS = ("black", "red", "green", "blue", "of")
"""Words of a text tower: colors as `save_model` sees them with mean 0 and std 1, and a word without one."""

TOKENS = 6


def save_text_model(
    image_model: str,
    *,
    weights: np.ndarray = WEIGHTS,
    kind: int = TensorProto.INT64,
    inputs: int = 1,
    metadata: dict[str, str] | None = None,
) -> None:
    """A text tower beside `save_model(…, weights=weights)`: the sum of the colors that the words name."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace

    tokenizer = Tokenizer(WordLevel({word: number for number, word in enumerate(COLORS)}, unk_token=COLORS[-1]))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.enable_truncation(TOKENS)
    tokenizer.enable_padding(length=TOKENS, pad_id=len(COLORS) - 1, pad_token=COLORS[-1])
    stem = image_model.removesuffix(".onnx")
    tokenizer.save(f"{stem}.tokenizer.json")
    colors = np.array([(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1), (0, 0, 0)], np.float32)
    names = [f"input{number}" for number in range(inputs)]
    graph = helper.make_graph(
        [
            helper.make_node("Gather", ["table", names[0]], ["rows"], axis=0),
            helper.make_node("ReduceSum", ["rows", "axes"], ["output"], keepdims=0),
        ],
        "sum of colors",
        [helper.make_tensor_value_info(name, kind, ("n", TOKENS)) for name in names],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, None)],
        [
            numpy_helper.from_array(value, name)
            for name, value in {"table": colors @ weights, "axes": np.array([1])}.items()
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    digests = {
        "image_model_sha256": hashlib.sha256(Path(image_model).read_bytes()).hexdigest(),
        "tokenizer_sha256": hashlib.sha256(Path(f"{stem}.tokenizer.json").read_bytes()).hexdigest(),
    }
    helper.set_model_props(model, digests if metadata is None else metadata)
    onnx.save_model(model, f"{stem}.text.onnx")
