"""A child process for an extract actor, and the one that starts before the rest of this package is imported.

This module imports little, so that the child and this process can import the rest at the same time.
"""

import os
import subprocess
import sys
from multiprocessing.connection import Pipe
from types import TracebackType
from typing import Self

from fastdup_ray.common import layout
from fastdup_ray.config import RunConfig
from fastdup_ray.executors.choice import choose_by_parameters

_RUNS = "fastdup_ray.executors.extract_process"
"""The module whose `run_child` a child runs."""

_COMMAND = """
import sys
sys.path[:] = {path!r}
from fastdup_ray.system.garbage import pause_collection
with pause_collection():
    from {module} import run_child
run_child({descriptor})
"""


class ChildProcess:
    """A child process that runs `extract_process.run_child`; it starts at once.

    It is a plain subprocess, so that it starts from notebooks, from programs on standard input, and from scripts that
    start a run as they are imported: `multiprocessing` would import the main module again. The child ends with this
    process, however this one ends: it sees the end of the connection.

    Attributes:
        connection: To talk to the child.
    """

    def __init__(self) -> None:
        self.connection, theirs = Pipe()
        with theirs:
            path = [folder for folder in sys.path if isinstance(folder, str)]
            command = _COMMAND.format(path=path, module=_RUNS, descriptor=theirs.fileno())
            flags = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]  # as multiprocessing does
            null = subprocess.DEVNULL
            self._process = subprocess.Popen(
                [sys.executable, *flags, "-c", command],
                pass_fds=[theirs.fileno()],
                stdin=null,
                stdout=null,
                stderr=null,  # decoders write what they like
                env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},  # a thread for each core would wait in a busy loop
            )

    def end(self) -> str:
        """End the child, if it has not died; return how it ended."""
        self._process.kill()
        code = self._process.wait()
        self.connection.close()
        return f"killed by signal {-code}" if code < 0 else f"exit code {code}"


class FirstChild:
    """The first child process of a run, if it will probably need one; it starts at once.

    Its start takes most of a second, in which this process imports the stages and lists the input. It ends with the
    context unless it was taken.
    """

    def __init__(self, config: RunConfig) -> None:
        """Start the child.

        Args:
            config: Of the run.
        """
        self._child = ChildProcess() if _will_read_here(config) else None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.end()

    def end(self) -> None:
        """End the child, unless it was taken."""
        if child := self.take():
            child.end()

    def take(self) -> ChildProcess | None:
        """Return the child, once; None if there is none."""
        child, self._child = self._child, None
        return child


def _will_read_here(config: RunConfig) -> bool:
    """Return whether a run will probably read images in child processes, by its parameters and its work_dir."""
    choice = choose_by_parameters(config)
    if config.run_mode not in (0, 1, 3) or config.estimate or config.version:
        return False
    if choice is not None and choice.executor != "local":
        return False
    return not (config.reuse and os.path.exists(os.path.join(config.work_dir, layout.SUMMARY)))
