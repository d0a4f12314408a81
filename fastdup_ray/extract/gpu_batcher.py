"""One model for several threads: images that wait at the same time are embedded in one call, as a GPU needs."""

import queue
import threading
from concurrent.futures import Future

import numpy as np

from fastdup_ray.common.arrays import ByteArray, FloatArray
from fastdup_ray.extract.embedding_buffer import Embedder


class BatchingModel:
    """An `Embedder` for many threads that calls another one from a single thread, with as many images as are waiting.

    Args:
        model: Computes the embeddings.
        batch: Number of images at which a call stops collecting.
    """

    def __init__(self, model: Embedder, batch: int) -> None:
        self.dimensions = model.dimensions
        self._model, self._batch = model, batch
        self._waiting: queue.SimpleQueue[tuple[ByteArray, Future[FloatArray]]] = queue.SimpleQueue()
        threading.Thread(target=self._run_batches, daemon=True).start()

    def embed(self, pixels: ByteArray) -> FloatArray:
        """Return the embeddings of images, as `Embedder.embed` does; raises whatever the model raises."""
        future: Future[FloatArray] = Future()
        self._waiting.put((pixels, future))
        return future.result()

    def _run_batches(self) -> None:
        while True:
            calls = [self._waiting.get()]
            while sum(len(pixels) for pixels, _ in calls) < self._batch:
                try:
                    calls.append(self._waiting.get_nowait())
                except queue.Empty:
                    break
            try:
                embeddings = self._model.embed(np.concatenate([pixels for pixels, _ in calls]))
            except BaseException as error:
                for _, future in calls:
                    future.set_exception(error)
                continue
            for pixels, future in calls:
                future.set_result(embeddings[: len(pixels)])
                embeddings = embeddings[len(pixels) :]
