"""Flags of the command line: made from `RunConfig`, and named in messages as the user wrote them."""

import re
from typing import Any

import click

from fastdup_ray.config import RunConfig
from fastdup_ray.parameter_types import TURI_NAMES

_SCHEMA = RunConfig.model_json_schema()["properties"]

_WORD = re.compile(r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|(?P<name>\b[a-z0-9_]+\b)(?P<equals>=?)""")
"""A quoted value, which is left alone, or a word that may be the name of a parameter."""

_INVALID = "Invalid value for "

_WORK_DIR = "work_dir"
"""A parameter, and also what the folder is called in any sentence."""


def make_flag(name: str) -> click.Option:
    """Return the option for a parameter of a run: `--report/--no-report`, `--verbose`, or one that takes a value."""
    field = RunConfig.model_fields[name]
    flag = "--" + name.replace("_", "-")
    default = int(field.default) if isinstance(field.default, bool) else field.default
    text = field.description if default in (None, "", []) else f"{field.description}  [{default}]"
    if field.default is True and name not in TURI_NAMES:
        return click.Option([f"{flag}/--no-{flag[2:]}"], default=None, help=field.description)
    if field.default is False:
        return click.Option([flag], is_flag=True, default=None, help=field.description)
    repeatable = _SCHEMA[name].get("type") == "array"
    return click.Option([flag], metavar=_metavar(_SCHEMA[name]), multiple=repeatable, default=None, help=text)


def _metavar(schema: dict[str, Any]) -> str:
    """Return the choices or the type of a parameter, by its JSON schema."""
    kind, *_ = [part for part in schema.get("anyOf", [schema]) if part.get("type") != "null"]
    if "enum" in kind:
        return "|".join(map(str, kind["enum"]))
    if kind["type"] == "array":
        return str(kind["items"].get("title", "GLOB"))
    return {"boolean": "0|1", "string": "TEXT"}.get(kind["type"], str(kind["type"]).upper())


def name_flags(message: str, group: click.Group) -> str:
    """Return a message of a `ConfigError` with flags for the names of parameters.

    A name counts as that of a parameter after "Invalid value for", before "=", and if it has an underscore. Quoted
    values stay as they are.

    Example:
        `Invalid value for min_offset: 5 (must be less than max_offset=5).` becomes
        `Invalid value for --min-offset: 5 (must be less than --max-offset=5).`
    """
    params = [param for command in group.commands.values() for param in command.params]
    flags = {param.name: param.opts[0] for param in params if isinstance(param, click.Option)} | {"input_dir": "INPUT"}

    def replace(match: re.Match[str]) -> str:
        name = match["name"]
        is_parameter = (
            match["equals"]
            or match.string[: match.start()] == _INVALID
            or ("_" in (name or _WORK_DIR) and name != _WORK_DIR)
        )
        return f"{flags[name]}{match['equals']}" if name in flags and is_parameter else match[0]

    return _WORD.sub(replace, message)
