"""The text tower of a model such as CLIP: texts to embeddings that can be compared with those of images.

It is in two files beside `NAME.onnx`, the model of the images. `NAME.text.onnx` takes the numbers of the tokens of a
text. `NAME.tokenizer.json` is in the format of the library tokenizers (https://huggingface.co/docs/tokenizers), and has
its padding and truncation. The metadata of `NAME.text.onnx` may hold the digests of the two files that it belongs to.
"""

import hashlib
import os
from typing import TYPE_CHECKING

import numpy as np

from fastdup_ray.common.arrays import FloatArray
from fastdup_ray.common.formatting import format_value
from fastdup_ray.errors import ConfigError, FastdupError, InputError
from fastdup_ray.extract.model import is_embedded, scale_to_unit
from fastdup_ray.extract.onnx_session import make_model_error, open_session, read_model_file, shorten_error

if TYPE_CHECKING:
    import tokenizers

IMAGE_MODEL_SHA256, TOKENIZER_SHA256 = "image_model_sha256", "tokenizer_sha256"
"""Keys of the metadata of `NAME.text.onnx`: digests of `NAME.onnx` and `NAME.tokenizer.json`."""


def make_text_paths(image_model: str) -> tuple[str, str]:
    """Return the paths of the text tower and of its tokenizer, beside the model of the images."""
    stem = image_model.removesuffix(".onnx")
    return f"{stem}.text.onnx", f"{stem}.tokenizer.json"


class TextModel:
    """The text tower that belongs to a model of images.

    Args:
        image_model: Path of the ONNX file that takes the images; None or a name for an embedded model.
        image_sha256: Digest of that file.
        dimensions: Numbers in its embeddings.

    Raises:
        InputError: The model has no text tower.
        ConfigError: The text tower cannot be used, belongs to another model, or the package tokenizers is missing.
    """

    def __init__(self, image_model: str | None, image_sha256: str, dimensions: int) -> None:
        if image_model is None or is_embedded(image_model):
            raise InputError("The embedded model has no text tower. Run with a model that has one, such as CLIP.")
        self._path, tokenizer_path = make_text_paths(image_model)
        if not os.path.exists(self._path):
            raise InputError(f"The model {image_model!r} has no text tower: there is no {self._path!r}.")
        tokenizer = read_model_file(tokenizer_path)
        self._session = open_session(read_model_file(self._path), self._path)
        self._check_digest(IMAGE_MODEL_SHA256, image_sha256, image_model)
        self._check_digest(TOKENIZER_SHA256, hashlib.sha256(tokenizer).hexdigest(), tokenizer_path)
        self._tokenizer = _load_tokenizer(tokenizer, tokenizer_path)
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        if len(inputs) != 1 or len(outputs) != 1 or inputs[0].type != "tensor(int64)" or len(inputs[0].shape) != 2:
            raise make_model_error(self._path, "it must have one input, (n, tokens) int64, and one output")
        self._input, self._dimensions = inputs[0].name, dimensions

    def embed(self, text: str) -> FloatArray:
        """Return the embedding of a text.

        Returns:
            (1, dimensions) float32 of unit length.

        Raises:
            ConfigError: The text is empty, longer than the model reads, or the model fails.
            InputError: The model has no embedding of it.
        """
        if not isinstance(text, str) or not text.strip():
            raise ConfigError(f"Invalid value for text: {format_value(text)} (must be a few words).")
        encoding = self._tokenizer.encode(text)
        if encoding.overflowing:
            reason = f"the model reads {len(encoding.ids)} tokens, which are words or parts of them"
            raise ConfigError(f"Invalid value for text: {format_value(text)} ({reason}).")
        try:
            output = np.asarray(self._session.run(None, {self._input: np.array([encoding.ids], np.int64)})[0])
        except Exception as error:  # onnxruntime has a class for each reason, without a common base
            raise make_model_error(self._path, f"it fails on {text!r}: {shorten_error(error)}") from None
        if output.shape != (1, self._dimensions):
            reason = f"its output for a text must be (1, {self._dimensions}), as for an image, not {output.shape}"
            raise make_model_error(self._path, reason)
        embedding = scale_to_unit(output.astype(np.float32))
        if not np.isfinite(embedding).all():
            raise InputError(f"Cannot search for {text!r}: the model has no embedding of it.")
        return embedding

    def _check_digest(self, key: str, actual: str, path: str) -> None:
        expected = self._session.get_modelmeta().custom_metadata_map.get(key, actual)
        if expected != actual:
            raise make_model_error(self._path, f"it does not belong to {path!r}, which is another file than {key} says")


def _load_tokenizer(data: bytes, path: str) -> "tokenizers.Tokenizer":
    try:
        import tokenizers  # late: no run needs it
    except ImportError:
        raise FastdupError("Text search needs a package: pip install 'fastdup-ray[text]'.") from None
    try:
        return tokenizers.Tokenizer.from_buffer(data)
    except Exception as error:  # the library raises Exception itself
        raise make_model_error(path, f"it is no tokenizer: {shorten_error(error)}") from None
