"""ONNX models as files and as sessions of onnxruntime, on one CPU thread or one GPU."""

import os
import platform
from typing import TYPE_CHECKING

from fastdup_ray.common.regular_file import open_regular
from fastdup_ray.errors import ConfigError
from fastdup_ray.extract import cuda

if TYPE_CHECKING:
    import onnxruntime


def make_model_error(path: str | None, reason: str) -> ConfigError:
    """Return the error for a model that cannot be used; path: None for the embedded one."""
    name = f"the model {path!r}" if path else "the embedded model"
    return ConfigError(f"Cannot use {name}: {reason}.")


def read_model_file(path: str) -> bytes:
    """Return the bytes of a file of a model.

    Raises:
        ConfigError: It cannot be read.
    """
    try:
        with open_regular(path) as file:
            return file.read()
    except MemoryError:
        raise make_model_error(path, f"it does not fit into memory on {platform.node()}") from None
    except OSError as error:
        reason = f"it cannot be read on {platform.node()} ({error.strerror}). Every node needs the file"
        raise make_model_error(path, reason) from None


def open_session(data: bytes, path: str | None, *, gpu: bool = False) -> "onnxruntime.InferenceSession":
    """Open a model.

    Args:
        data: The bytes of its file.
        path: The file, for messages; None for the embedded model.
        gpu: Run it on the GPU of this process.

    Raises:
        ConfigError: It is no model that onnxruntime can run, or there is no GPU to run it.
    """
    import onnxruntime  # late: importing it takes a fifth of a second

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    options.use_deterministic_compute = gpu
    # Weights in a second file would not be part of the fingerprint, and would be read from the current folder.
    options.add_session_config_entry("session.model_external_initializers_file_folder_path", os.devnull)
    providers = [cuda.make_provider()] if gpu else ["CPUExecutionProvider"]
    try:
        session = onnxruntime.InferenceSession(data, options, providers=providers)
    except Exception as error:  # onnxruntime has a class for each reason, without a common base
        if "external" in str(error).lower():
            reason = "its weights are in another file; export it into one file (external_data=False)"
            raise make_model_error(path, reason) from None
        raise make_model_error(path, f"onnxruntime cannot open it: {shorten_error(error)}") from None
    if gpu and session.get_providers()[0] != cuda.PROVIDER:
        raise ConfigError(
            "Invalid value for compute: 'gpu' (CUDA does not start on this machine). Check its driver, or use "
            "compute='cpu'."
        )
    return session


def shorten_error(error: Exception) -> str:
    """Return the last part of a message of onnxruntime, which says what is wrong."""
    return " ".join(str(error).rpartition(" : ")[2].split())[:200].rstrip(". ")
