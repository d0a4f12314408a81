"""Names of parameters in messages, as they are written on the command line."""

import re

import click

_QUOTED = r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*\""""

_WORD = re.compile(rf"{_QUOTED}|\b(?P<name>[a-z0-9_]+)\b(?P<given>=(?P<value>{_QUOTED}|[^\s,;:()]*[^\s,;:().])?)?")
"""A quoted value, which is left alone, or a word that may be the name of a parameter, perhaps with its value."""

_SIMPLE = re.compile(r"""(['"])([\w.+-]+)\1""")
"""A quoted value that the shell takes without quotation marks."""

_INVALID = "Invalid value for "

_WORK_DIR = "work_dir"
"""A parameter, and also what the folder is called in any sentence."""


def name_flags(message: str, command: click.Command) -> str:
    """Return the message of an error with flags for the names of the parameters of a command.

    A name counts as that of a parameter after "Invalid value for", before "=", and if it has an underscore. Other
    quoted values stay as they are.

    Example:
        `Invalid value for min_offset: 5 (must be less than max_offset=5).` becomes
        `Invalid value for --min-offset: 5 (must be less than --max-offset 5).`, and `replace it with overwrite=True`
        becomes `replace it with --overwrite`.
    """
    params = {param.name: param for param in command.params}

    def replace(match: re.Match[str]) -> str:
        name = match["name"] or ""
        is_named = match.string[: match.start()] == _INVALID or ("_" in name and name != _WORK_DIR)
        if not match["given"] and not is_named:
            return match[0]
        param = params.get(name) or _find_option_of_run(name)
        if param is None:
            return match[0]
        return _write_value(param, match["value"] or "") if match["given"] else _get_flag(param)

    return _WORD.sub(replace, message)


def _find_option_of_run(name: str) -> click.Option | None:
    """Return the option of a parameter of a run, which other commands refer to; None if there is no such parameter."""
    from fastdup_ray.cli.flags import make_flag
    from fastdup_ray.config import RunConfig

    return make_flag(name) if name in RunConfig.model_fields else None


def _write_value(param: click.Parameter, value: str) -> str:
    flag = _get_flag(param)
    if isinstance(param, click.Option) and param.is_flag:
        return flag if value in ("True", "1") or not param.secondary_opts else param.secondary_opts[0]
    simple = _SIMPLE.fullmatch(value)
    return f"{flag} {simple[2] if simple else value}"


def _get_flag(param: click.Parameter) -> str:
    """Return the long flag of an option, and what an argument is called in the usage."""
    if isinstance(param, click.Argument):
        return (param.metavar or param.human_readable_name).strip("[]")
    return max(param.opts, key=len)
