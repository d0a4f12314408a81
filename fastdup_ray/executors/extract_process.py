"""An extract actor as a child of this process: the handle, and what the child runs."""

import os
import pickle
import signal
import threading
from contextlib import suppress
from multiprocessing.connection import Connection
from queue import SimpleQueue
from typing import Any

from fastdup_ray.common.records import Shard, ShardReceipt
from fastdup_ray.errors import WorkerError
from fastdup_ray.executors.attempts import Attempt
from fastdup_ray.executors.child_process import ChildProcess
from fastdup_ray.executors.extract_actor import ExtractActor
from fastdup_ray.extract.extractor import ExtractSpec


class ExtractProcess:
    """A child process with an extract actor.

    Attributes:
        connection: To wait for what the child sends; see `receive`.
        is_ready: Whether the child has loaded its model.
        at_work: The shard that it has.
    """

    def __init__(self, spec: ExtractSpec, child: ChildProcess) -> None:
        """Give a new child its work.

        Args:
            spec: Of the extractor.
            child: The child, which has been sent nothing.
        """
        self.connection = child.connection
        self.is_ready = False
        self.at_work: Attempt | None = None
        self._child = child
        self._send(spec)

    def assign(self, attempt: Attempt) -> None:
        """Give the child a shard to read."""
        self.at_work = attempt
        self._send(attempt.shard)

    def receive(self) -> ShardReceipt | None:
        """Return what the child has sent: None once it is ready, then a receipt for each shard.

        Raises:
            EOFError: The child has died.
            BaseException: What it raised.
        """
        try:
            answer: ShardReceipt | BaseException | None = self.connection.recv()
        except ConnectionError:  # it died with a message unread
            raise EOFError from None
        if isinstance(answer, BaseException):
            raise answer
        self.is_ready = True
        return answer

    def end(self) -> str:
        """End the child, if it has not died; return how it ended."""
        return self._child.end()

    def _send(self, message: object) -> None:
        with suppress(ConnectionError):  # it has died, which `receive` tells
            self.connection.send(message)


def run_child(descriptor: int) -> None:
    """Read the shards that come through the connection with this descriptor, until it ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to all processes of a terminal: the parent ends this one
    connection = Connection(descriptor)
    inbox: SimpleQueue[bytes] = SimpleQueue()
    threading.Thread(target=_receive_all, args=(connection, inbox), daemon=True).start()
    try:
        spec: ExtractSpec = pickle.loads(inbox.get())
        actor = ExtractActor(spec)
        actor.ready()
        connection.send(None)
        while True:
            shard: Shard = pickle.loads(inbox.get())
            connection.send(actor.extract(shard))
    except BaseException as error:
        _send_error(connection, error)


def _receive_all(connection: Connection, inbox: "SimpleQueue[bytes]") -> None:
    """Put messages into the inbox; end this process when the parent ends."""
    with suppress(EOFError, OSError):
        while True:
            inbox.put(connection.recv_bytes())
    os._exit(1)


def _send_error(connection: Connection, error: BaseException) -> None:
    answer: Any = error
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        answer = WorkerError(f"{type(error).__name__}: {error}")
    with suppress(OSError):
        connection.send(answer)
