"""Types of parameters: how the values of `RunConfig` are parsed, and what is said of values that are refused."""

import difflib
import os
import re
from collections.abc import Mapping, Sequence
from decimal import Decimal
from numbers import Real
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, PlainValidator, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from fastdup_ray.common.formatting import format_value
from fastdup_ray.common.locations import to_absolute
from fastdup_ray.common.path_lists import list_paths
from fastdup_ray.common.paths import to_path_text
from fastdup_ray.common.records import MIN_SIDE, Box
from fastdup_ray.errors import ConfigError

NNMODELS = ("brute_force", "ball_tree", "lsh")
"""The choices of `nnmodel`. The specification also numbers them, in this order."""

TURI_NAMES = ("nnmodel", "ccthreshold", "run_cc", "run_pagerank", "run_degree")
"""Parameters that can be given in `turi_param`, too."""

MODELS: dict[str, str | None] = {"default": None, "fast": "fast"}
"""The names that `model` takes, and the `model_path` of each: None and bare names for the embedded models."""

_BOX_EXAMPLE = "rows=100,cols=100,width=250,height=310"

_BOUNDS = {
    "greater_than_equal": ("at least", "ge"),
    "greater_than": ("more than", "gt"),
    "less_than_equal": ("at most", "le"),
}
"""How a bound is called, by pydantic's type of the error, and where the error has it."""

_REASONS = {
    "float_": "must be a number",
    "finite_number": "must be a finite number",
    "int_": "must be a whole number",
    "bool_": "must be 0 or 1",
    "string_too_short": "must not be empty",
}
"""What is said of a value, by the start of pydantic's type of the error."""


# Parsers


def to_number(value: Any) -> Any:
    """Return a number of any kind as int or float, whole ones as int; all else as it is.

    `1e6` is a million, and so are scalars of NumPy, torch and `decimal`.
    """
    if getattr(value, "shape", None) == () and hasattr(value, "item"):
        value = value.item()
    if isinstance(value, int) or not isinstance(value, (Real, Decimal)):
        return value
    number = float(value)
    return int(number) if number.is_integer() else number


def _parse_input_dir(value: Any) -> str | list[str]:
    paths = list_paths(value)
    if not paths:
        raise ValueError("has no paths")
    return paths


def _parse_inputs(value: Any) -> list[str]:
    paths = list_paths(value)
    return [paths] if isinstance(paths, str) else paths


def _parse_globs(value: Any) -> Any:
    return [value] if isinstance(value, str) else list(value) if isinstance(value, (tuple, set, frozenset)) else value


def _split_commas(value: Any) -> Any:
    """Return `'a,b'`, or several such texts, as a list."""
    if isinstance(value, str):
        value = [value]
    if isinstance(value, (list, tuple)) and all(isinstance(item, str) for item in value):
        return sorted({part.strip() for item in value for part in item.split(",") if part.strip()})
    return value


def _parse_switch(value: Any) -> Any:
    """Return 0 and 1, as numbers or as text, as bool."""
    return bool(int(value)) if type(value) in (int, str) and str(value) in ("0", "1") else value


def _parse_nnmodel(value: Any) -> Any:
    text = str(value)
    return NNMODELS[int(text)] if text in ("0", "1", "2") else value


def _parse_offset(value: int) -> int | None:
    return None if value == -1 else value


def _parse_faiss_mode(value: str) -> str:
    return value.replace("HSNW", "HNSW")  # the specification's own spelling


def _normalize_box(value: str) -> str | None:
    """Return one spelling for equal boxes, so that two runs with one box share their embeddings."""
    return str(parse_box(value)) if value else None


def _resolve_model(value: str) -> str:
    """Return a name of `MODELS`, or an absolute path: who searches the run may be in another folder."""
    if value in MODELS:
        return value
    if not (os.path.dirname(value) or value.lower().endswith(".onnx") or os.path.exists(value)):
        raise ValueError(f"must be {', '.join(MODELS)}, or the path of an ONNX file")
    return to_absolute(value)


def parse_pairs(parameter: str, text: str) -> dict[str, str]:
    """Parse `'a=1,b=2'`.

    Args:
        parameter: The parameter that the text comes from, for the error.
        text: Pairs of a name and a value, separated by commas. A pair may be repeated.

    Returns:
        The value of each name.

    Raises:
        ConfigError: If a part is not of this form, or a name has two values.
    """
    pairs: dict[str, str] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        match = re.fullmatch(r"(\w+)\s*=\s*(\S+)", part)
        if match is None:
            raise ConfigError(f"Invalid value for {parameter}: {part!r} (must be of the form name=value).")
        name, value = match.groups()
        if pairs.setdefault(name, value) != value:
            raise ConfigError(f"Invalid value for {parameter}: {name!r} is given twice, as {pairs[name]} and {value}.")
    return pairs


def parse_box(text: str) -> Box:
    """Parse `'rows=100,cols=100,width=250,height=310'`, in any order.

    Raises:
        ConfigError: If a name is missing or unknown, or a value is out of range.
    """
    pairs = parse_pairs("bounding_box", text)
    invalid = f"Invalid value for bounding_box: {text!r}"
    if set(pairs) != set(Box._fields):
        raise ConfigError(f"{invalid} (must be like {_BOX_EXAMPLE}, with all four names).")
    if not all(re.fullmatch("[0-9]{1,9}", value) for value in pairs.values()):
        raise ConfigError(f"{invalid} (must be like {_BOX_EXAMPLE}, in whole pixels).")
    box = Box(**{name: int(value) for name, value in pairs.items()})
    if min(box.width, box.height) < MIN_SIDE:
        raise ConfigError(f"{invalid} (width and height must be at least {MIN_SIDE}).")
    return box


# Types of fields

Location = Annotated[str, PlainValidator(to_path_text, json_schema_input_type=str)]
"""A path or URI. A str of pydantic's own cannot hold the bytes of a name that are not UTF-8."""

ModelPath = Annotated[Location, AfterValidator(to_absolute)]
ModelName = Annotated[Location, AfterValidator(_resolve_model)]
InputDir = Annotated[str | list[str], PlainValidator(_parse_input_dir, json_schema_input_type=str | list[str])]
Inputs = Annotated[list[str], PlainValidator(_parse_inputs, json_schema_input_type=list[str])]
Switch = Annotated[bool, BeforeValidator(_parse_switch)]
UnitInterval = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Offset = Annotated[Annotated[int, Field(ge=-1), AfterValidator(_parse_offset)] | None, Field(default=None)]
Count = Annotated[int, Field(ge=1)]
RunMode = Annotated[int, Field(ge=0, le=4)]
FaissMode = Annotated[str, Field(min_length=1), AfterValidator(_parse_faiss_mode)]
NNModel = Annotated[Literal["brute_force", "ball_tree", "lsh"], BeforeValidator(_parse_nnmodel)]
BoxText = Annotated[str, AfterValidator(_normalize_box)]
Invariance = Literal["flip", "rotate"]
Verify = Literal["off", "candidates", "all"]
Invariances = Annotated[list[Invariance], BeforeValidator(_split_commas)]
Globs = Annotated[list[Annotated[str, Field(min_length=1)]], BeforeValidator(_parse_globs)]


def merge_turi_param(
    parameters: Mapping[str, Any], fields: Mapping[str, FieldInfo], *, from_text: bool
) -> dict[str, Any]:
    """Return `parameters` with what `turi_param` holds added under its own names.

    Args:
        parameters: Parameters as they were given, not yet validated.
        fields: The fields of `RunConfig`.
        from_text: Whether they come from a command line.

    Raises:
        ConfigError: If a name is unknown, a value is invalid, or a parameter has two values.
    """
    text, merged = parameters.get("turi_param"), dict(parameters)
    if not isinstance(text, str):
        return merged
    for name, value in parse_pairs("turi_param", text).items():
        if name not in TURI_NAMES:
            raise ConfigError(f"Invalid value for turi_param: unknown name {name!r} (must be {_choices(TURI_NAMES)}).")
        # A type that is only known at run time is none to the type checker.
        adapter: TypeAdapter[Any] = TypeAdapter(Annotated[fields[name].annotation, *fields[name].metadata])  # type: ignore[arg-type]
        try:
            parsed = adapter.validate_python(value)
            same = name not in merged or adapter.validate_python(merged[name]) == parsed
        except ValidationError as error:
            reason = _format_reason(error.errors()[0], fields[name])
            raise ConfigError(f"Invalid value for turi_param: '{name}={value}' ({reason}).") from None
        if not same:
            given = _format_value(merged[name], from_text=from_text)
            raise ConfigError(f"Invalid value for {name}: {given} (given twice: turi_param says '{name}={value}').")
        merged[name] = parsed
    return merged


def format_error(
    error: ErrorDetails, fields: Mapping[str, FieldInfo], given: Mapping[str, Any], *, from_text: bool
) -> str:
    """Return one line that says what is wrong with a parameter.

    Args:
        error: An error of pydantic.
        fields: The fields of `RunConfig`.
        given: The parameters as the caller wrote them.
        from_text: Whether the values come from a command line, where numbers are texts, too.
    """
    name = str(error["loc"][0]) if error["loc"] else "?"
    if error["type"] == "extra_forbidden":
        similar = difflib.get_close_matches(name, fields, n=1)
        hint = f"Did you mean {similar[0]}?" if similar else "See help(fastdup_ray.run) for the parameters."
        return f"Unknown parameter {name!r}. {hint}"
    whole = given.get(name, error["input"]) if len(error["loc"]) == 1 else error["input"]
    value = _format_value(whole, from_text=from_text)
    return f"Invalid value for {name}: {value} ({_format_reason(error, fields[name])})."


def _format_value(value: Any, *, from_text: bool) -> str:
    """Return a value as it was written; a text is quoted unless it is a single word of a command line."""
    return value if from_text and isinstance(value, str) and re.fullmatch(r"[\w.+-]+", value) else format_value(value)


def _format_reason(error: ErrorDetails, field: FieldInfo) -> str:
    """Return what is allowed."""
    kind = error["type"]
    if reason := next((reason for start, reason in _REASONS.items() if kind.startswith(start)), ""):
        return reason
    if kind in _BOUNDS:
        bounds = {key: getattr(item, key) for item in field.metadata for key in ("ge", "le") if hasattr(item, key)}
        if len(bounds) == 2:
            return f"must be between {bounds['ge']} and {bounds['le']}"
        words, key = _BOUNDS[kind]
        return f"must be {words} {error['ctx'][key]:g}"
    return re.sub("^Input should ", "must ", error["msg"].removeprefix("Value error, "))


def _choices(names: Sequence[str]) -> str:
    return f"{', '.join(names[:-1])} or {names[-1]}"
