"""The file that a result is written to: one in the work_dir, which is replaced, or one that the user names."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import BinaryIO

from fastdup_ray.common import layout
from fastdup_ray.storage import Store
from fastdup_ray.storage.named_output import NamedOutput


class ResultFile:
    """A file for a result, checked and not yet written.

    Args:
        source: The work_dir.
        name: Name of the file in it.
        save_path: The file to write instead, or `-` for standard output.
        overwrite: Replace `save_path` if it exists.

    Attributes:
        path: Path or URI of the file; `-` for standard output.
        is_stdout: Whether it is standard output.

    Raises:
        WorkDirError: `save_path` exists or cannot be written.
    """

    def __init__(self, source: Store, name: str, save_path: str | os.PathLike[str] | None, *, overwrite: bool) -> None:
        self._source, self._is_in_work_dir = source, save_path is None
        path = os.path.join(source.location, name) if save_path is None else save_path
        self._output = NamedOutput(path, source.access, overwrite=overwrite or save_path is None)
        if save_path is not None:
            self._output.check()
        self.path, self.is_stdout = self._output.path, self._output.is_stdout

    @contextmanager
    def open(self) -> Iterator[BinaryIO]:
        """Open the file for writing; in the work_dir, while nobody else writes there."""
        if self._is_in_work_dir:
            self._source.prepare()
        with self._source.lock(layout.LOCK) if self._is_in_work_dir else nullcontext(), self._output.open() as file:
            yield file
