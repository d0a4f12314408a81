"""Temporary files."""

from collections.abc import Callable
from typing import IO

Scratch = Callable[[], IO[bytes]]
"""Opens an empty, unnamed file, such as `Store.scratch`. It is removed when it is closed."""
