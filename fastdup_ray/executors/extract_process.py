"""An extract actor as a child of this process: the handle, and what the child runs.

It is a plain subprocess, so that it starts from notebooks, from programs on standard input, and from scripts that start
a run as they are imported: `multiprocessing` would import the main module again.
"""

import os
import pickle
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from multiprocessing.connection import Connection, Pipe
from queue import SimpleQueue
from typing import Any

from fastdup_ray.common.records import Shard, ShardReceipt
from fastdup_ray.errors import WorkerError
from fastdup_ray.executors.attempts import Attempt
from fastdup_ray.executors.extract_actor import ExtractActor
from fastdup_ray.extract.extractor import ExtractSpec

_COMMAND = "import sys; sys.path[:] = {path!r}; from {module} import run_child; run_child({descriptor})"


class ExtractProcess:
    """A child process with an extract actor; it starts at once.

    The child ends with this process, however this one ends: it sees the end of the connection.

    Attributes:
        connection: To wait for what the child sends; see `receive`.
        is_ready: Whether the child has loaded its model.
        at_work: The shard that it has.
    """

    def __init__(self, spec: ExtractSpec) -> None:
        self.connection, theirs = Pipe()
        self.is_ready = False
        self.at_work: Attempt | None = None
        with theirs:
            path = [folder for folder in sys.path if isinstance(folder, str)]
            command = _COMMAND.format(path=path, module=__name__, descriptor=theirs.fileno())
            flags = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]  # as multiprocessing does
            null = subprocess.DEVNULL
            self._process = subprocess.Popen(
                [sys.executable, *flags, "-c", command],
                pass_fds=[theirs.fileno()],
                stdin=null,
                stdout=null,
                stderr=null,  # decoders write what they like
            )
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
        self._process.kill()
        code = self._process.wait()
        self.connection.close()
        return f"killed by signal {-code}" if code < 0 else f"exit code {code}"

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
