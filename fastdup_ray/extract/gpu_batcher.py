"""Several threads that decode, one GPU that runs the model: what they bring meanwhile goes into one call."""

import queue
import threading
from concurrent.futures import Future

import numpy as np

from fastdup_ray.extract.embedding_buffer import Embedder


class BatchingModel:
    """Calls `model.rows` from one thread, for all who call `rows` here; `batch` pictures at a time where there are."""

    def __init__(self, model: Embedder, batch: int):
        self.dimensions = model.dimensions
        self._model, self._batch = model, batch
        self._waiting: queue.SimpleQueue[tuple[np.ndarray, Future]] = queue.SimpleQueue()
        threading.Thread(target=self._run_batches, daemon=True).start()

    def embed(self, pixels: np.ndarray) -> np.ndarray:
        """As the model's; raises what the model raises."""
        future: Future[np.ndarray] = Future()
        self._waiting.put((pixels, future))
        return future.result()

    def _run_batches(self) -> None:
        while True:
            taken = [self._waiting.get()]
            while sum(len(pixels) for pixels, _ in taken) < self._batch:
                try:
                    taken.append(self._waiting.get_nowait())
                except queue.Empty:
                    break
            try:
                rows = self._model.embed(np.concatenate([pixels for pixels, _ in taken]))
            except BaseException as error:
                for _, future in taken:
                    future.set_exception(error)
                continue
            for pixels, future in taken:
                future.set_result(rows[: len(pixels)])
                rows = rows[len(pixels) :]
