"""The parameters of a run as Python functions take them: their plain types and defaults, made from `RunConfig`."""

import functools
import inspect
import operator
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Union, get_args, get_origin, get_type_hints

from fastdup_ray.common.path_lists import Paths
from fastdup_ray.common.paths import StrPath
from fastdup_ray.config import RunConfig
from fastdup_ray.errors import ConfigError

_ACCEPTED: Mapping[str, Any] = {
    "input_dir": Paths | None,
    "work_dir": StrPath,
    "model_path": StrPath | None,
    "model": StrPath | None,
    "labels": StrPath | None,
    "annotations": StrPath | None,
    "reference": Paths,
    "invariant": Iterable[str],
}
"""Types of parameters that take more than `RunConfig` keeps of them."""


def make_signature(returns: object, *, without: Collection[str] = ()) -> inspect.Signature:
    """Return the signature of a function that takes the parameters of a run.

    Args:
        returns: What the function returns.
        without: Parameters that it does not take.
    """
    types = get_type_hints(RunConfig)
    parameters = [
        inspect.Parameter(
            name,
            inspect.Parameter.POSITIONAL_OR_KEYWORD,
            default=field.default,
            annotation=_ACCEPTED.get(name) or _simplify(types[name]),
        )
        for name, field in RunConfig.model_fields.items()
        if name not in without
    ]
    return inspect.Signature(parameters, return_annotation=returns)


def describe_parameters(signature: inspect.Signature) -> str:
    """Return the section `Args` of a docstring."""
    lines = [
        f"        {name}: {RunConfig.model_fields[name].description} Default: {parameter.default!r}."
        for name, parameter in signature.parameters.items()
    ]
    return "\n".join(["    Args:", *lines])


def name_arguments(
    signature: inspect.Signature, arguments: Sequence[Any], keywords: Mapping[str, Any]
) -> dict[str, Any]:
    """Return all arguments of a call by name; unknown keywords are left for `RunConfig` to refuse.

    Raises:
        ConfigError: There are too many, or one is given twice.
    """
    names = list(signature.parameters)
    if len(arguments) > len(names):
        raise ConfigError(f"Too many arguments: {len(arguments)} (there are {len(names)} parameters).")
    by_position = dict(zip(names, arguments, strict=False))
    if twice := by_position.keys() & keywords.keys():
        raise ConfigError(f"{min(twice)} is given twice, by position and by name.")
    return by_position | dict(keywords)


def _simplify(kind: Any) -> Any:
    """Return a type as a caller would write it: any iterable for a list, `int | None` for `Optional[int]`."""
    if get_origin(kind) is list:
        return Iterable[get_args(kind)[0]]  # type: ignore[misc]  # known at run time only
    return functools.reduce(operator.or_, get_args(kind)) if get_origin(kind) is Union else kind
