"""A model in each worker process."""

import onnxruntime


class WorkerSession:
    """An ONNX model on one thread of a worker process.

    Attributes:
        session: The model, after `start`.
    """

    session: onnxruntime.InferenceSession

    @classmethod
    def start(cls, model: bytes) -> None:
        """Open the model: the initializer of a process pool."""
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        cls.session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
