"""Paths and URIs as callers give them: as str, or as any `os.PathLike`."""

import functools
import inspect
import os
import re
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

from fastdup_ray.errors import ConfigError

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")

_MERGED_URI = re.compile(r"[a-z][a-z0-9+.-]+:/(?!/)")
"""What `pathlib` makes of a URI."""


def to_path_text(value: Any) -> str:
    """Return a path or URI as text, with `~` expanded; raise `ValueError` with the reason where it is none."""
    text = os.fspath(value) if isinstance(value, os.PathLike) else value
    if not isinstance(text, str):
        raise ValueError("it should be a path or a URI, as str or os.PathLike")
    if not text:
        raise ValueError("it should be a path or a URI, and is empty")
    if "\0" in text:
        raise ValueError("no path has a NUL in it")
    if text is not value and _MERGED_URI.match(text):
        raise ValueError("a URI should be a str: pathlib takes a slash out of it")
    return os.path.expanduser(text)


def accept_paths(*names: str) -> Callable[[Callable[Parameters, Result]], Callable[Parameters, Result]]:
    """Decorate a function so that it gets its parameters `names` as text; None stays None.

    Anything else raises a `ConfigError` that names the parameter.
    """

    def decorate(function: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
        signature = inspect.signature(function)

        @functools.wraps(function)
        def call(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
            given = signature.bind(*args, **kwargs)
            for name in names:
                value = given.arguments.get(name)
                if value is not None or signature.parameters[name].default is inspect.Parameter.empty:
                    given.arguments[name] = _check_path(name, value)
            return function(*given.args, **given.kwargs)

        return call

    return decorate


def _check_path(name: str, value: Any) -> str:
    try:
        return to_path_text(value)
    except ValueError as error:
        raise ConfigError(f"{name}={value!r} is not possible: {error}.") from None
