"""Names of parameters in messages, as they are written on the command line."""

import re

import click

_WORD = re.compile(r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|(?P<name>\b[a-z0-9_]+\b)(?P<equals>=?)""")
"""A quoted value, which is left alone, or a word that may be the name of a parameter."""

_INVALID = "Invalid value for "

_WORK_DIR = "work_dir"
"""A parameter, and also what the folder is called in any sentence."""


def name_flags(message: str, command: click.Command) -> str:
    """Return a message of a `ConfigError` with flags for the names of the parameters of a command.

    A name counts as that of a parameter after "Invalid value for", before "=", and if it has an underscore. Quoted
    values stay as they are.

    Example:
        `Invalid value for min_offset: 5 (must be less than max_offset=5).` becomes
        `Invalid value for --min-offset: 5 (must be less than --max-offset=5).`
    """
    flags = {param.name: _get_flag(param) for param in command.params}

    def replace(match: re.Match[str]) -> str:
        name = match["name"]
        is_parameter = (
            match["equals"]
            or match.string[: match.start()] == _INVALID
            or ("_" in (name or _WORK_DIR) and name != _WORK_DIR)
        )
        return f"{flags[name]}{match['equals']}" if name in flags and is_parameter else match[0]

    return _WORD.sub(replace, message)


def _get_flag(param: click.Parameter) -> str:
    """Return the long flag of an option, and what an argument is called in the usage."""
    if isinstance(param, click.Argument):
        return (param.metavar or param.human_readable_name).strip("[]")
    return max(param.opts, key=len)
