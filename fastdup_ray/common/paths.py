"""Paths and URIs as callers give them: as `str`, or as any `os.PathLike`."""

import functools
import inspect
import os
import re
from collections.abc import Callable
from typing import Any, ParamSpec, TypeAlias, TypeVar

from fastdup_ray.common.formatting import format_value
from fastdup_ray.errors import ConfigError

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")

StrPath: TypeAlias = str | os.PathLike[str]
"""A path or URI."""

_MERGED_URI = re.compile(r"[a-z][a-z0-9+.-]+:/(?!/)")
"""A URI after `pathlib` merged its slashes."""


def to_path_text(value: Any) -> str:
    """Return a path or URI as text, with `~` expanded.

    Args:
        value: What the caller gave.

    Raises:
        ValueError: It is not a path or URI; the message says why.
    """
    text = os.fspath(value) if isinstance(value, os.PathLike) else value
    if not isinstance(text, str):
        raise ValueError("must be a path or URI, as str or os.PathLike")
    if not text:
        raise ValueError("must not be empty")
    if "\0" in text:
        raise ValueError("must not contain a NUL character")
    if text is not value and _MERGED_URI.match(text):
        raise ValueError("a URI must be given as str, since pathlib removes a slash from it")
    return os.path.expanduser(str(text))  # the texts of NumPy are a class of their own


def accept_paths(*names: str) -> Callable[[Callable[Parameters, Result]], Callable[Parameters, Result]]:
    """Decorate a function so that it receives some of its parameters as text; None stays None.

    Args:
        *names: Parameters that are paths or URIs.

    Returns:
        A decorator. The decorated function raises `ConfigError` if one of the parameters is not a path or URI.
    """

    def decorate(function: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
        signature = inspect.signature(function)

        @functools.wraps(function)
        def call(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
            bound = signature.bind(*args, **kwargs)
            for name in names:
                value = bound.arguments.get(name)
                if value is not None or signature.parameters[name].default is inspect.Parameter.empty:
                    bound.arguments[name] = _check_path(name, value)
            return function(*bound.args, **bound.kwargs)

        return call

    return decorate


def _check_path(name: str, value: Any) -> str:
    try:
        return to_path_text(value)
    except ValueError as error:
        raise ConfigError(f"Invalid value for {name}: {format_value(value)} ({error}).") from None
