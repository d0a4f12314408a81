"""Write the pages and the stub that are made from the code: `python -m tests.docs.generate`."""

import inspect
import json
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import click

import fastdup_ray
from fastdup_ray.cli.command import OTHER_OPTIONS, Command
from fastdup_ray.cli.group import cli
from fastdup_ray.config import RunConfig
from tests.docs.pages import DOCS, PROGRAM, ROOT

NOTE = "<!-- Made by `python -m tests.docs.generate` from the code: do not edit. -->"


COMPLETION = "Commands, options, choices and paths are [completed with Tab](install.md#shell-completion)."


def make_cli_page() -> str:
    """Return the page of the command line: every command with its help, an example and its options."""
    context = click.Context(cli, info_name=PROGRAM)
    commands = {name: command for name in cli.list_commands(context) if (command := _get_command(name, context))}
    run_options = {line for lines in _options(commands["run"]).values() for line in lines}
    contents = [f"- [{name}](#{PROGRAM}-{name}): {_first_sentence(command)}" for name, command in commands.items()]
    parts = [NOTE, "# Command line", *_help(cli), "\n".join(contents), *_paragraphs(cli.epilog or ""), COMPLETION]
    for name, command in commands.items():
        shared: list[str] = []
        parts += [
            f"## {PROGRAM} {name}",
            f"`{PROGRAM} {name} {' '.join(command.collect_usage_pieces(context))}`",
            *_help(command),
            f"```\n{command.examples}\n```",
        ]
        for heading, lines in _options(command).items():
            own = [line for line in lines if name == "run" or line not in run_options]
            shared += [f"`{re.split('[` ]', line)[2]}`" for line in lines if line not in own]
            parts += [f"**{heading}**" if own and heading != OTHER_OPTIONS else "", "\n".join(own)]
        parts.append(f"It also takes these options of [run](#{PROGRAM}-run): {', '.join(shared)}." if shared else "")
    return _joined(parts)


def _get_command(name: str, context: click.Context) -> Command:
    command = cli.get_command(context, name)
    assert isinstance(command, Command)
    return command


def _options(command: Command) -> dict[str, list[str]]:
    """Map each heading to the lines of its options."""
    return {
        heading: [_option_line(option) for option in options] for heading, options in command.group_options().items()
    }


def _option_line(option: click.Option) -> str:
    names = "/".join((*sorted(option.opts, key=len), *option.secondary_opts))
    metavar = "" if option.is_flag else " " + (option.metavar or _metavar(option.type))
    # The commands write a default behind the text, in brackets.
    text = re.sub(r"(?:^|  )\[(.*)\]$", r" Default: \1.", _prose(option.help))
    return f"- `{names}{metavar}`: {text.strip()}"


def _metavar(kind: click.ParamType) -> str:
    return "|".join(map(str, kind.choices)) if isinstance(kind, click.Choice) else kind.name.upper()


def _help(command: click.Command) -> Iterator[str]:
    yield from _paragraphs(inspect.cleandoc(command.help or ""))


def _paragraphs(text: str) -> Iterator[str]:
    r"""Yield the paragraphs of a text; those that click prints as they are (`\b`) become blocks."""
    for paragraph in text.split("\n\n"):
        block = paragraph.removeprefix("\b\n")
        yield f"```text\n{block}\n```" if block != paragraph else _prose(" ".join(paragraph.split()))


def _first_sentence(command: click.Command) -> str:
    return re.split(r"(?<=\.)\s", next(_help(command)))[0]


def make_parameters_page() -> str:
    """Return the page of the parameters of a run, as `RunConfig` defines them."""
    schema = RunConfig.model_json_schema()["properties"]
    rows = [
        f"| `{name}` | {_type(schema[name])} | {_default(schema[name]['default'])} | {_prose(field.description)} |"
        for name, field in RunConfig.model_fields.items()
    ]
    return _joined(
        [
            NOTE,
            "# Parameters",
            "The parameters of a run. They are the keywords of `fastdup_ray.deduplicate`, `fastdup_ray.run` and "
            "`RunConfig.of`, the names in `config.json`, and "
            f"the flags of [`{PROGRAM} run`](cli.md#{PROGRAM}-run): `work_dir` is `--work-dir`, "
            "`report=False` is `--no-report`.",
            "An unknown name, a wrong type or a value out of range is refused before anything is written.",
            "\n".join(["| name | type | default | meaning |", "|---|---|---|---|", *rows]),
        ]
    )


def _type(schema: dict[str, Any]) -> str:
    kinds = [kind for kind in schema.get("anyOf", [schema]) if kind["type"] != "null"]
    return " or ".join(map(_kind, kinds))


def _kind(schema: dict[str, Any]) -> str:
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    if schema["type"] == "array":
        return "list of str"
    name = {"boolean": "bool", "integer": "int", "number": "float", "string": "str"}[schema["type"]]
    return ", ".join([name, *_bounds(schema)])


def _bounds(schema: dict[str, Any]) -> Iterator[str]:
    words = {"minimum": "at least", "exclusiveMinimum": "more than", "maximum": "at most"}
    if {"minimum", "maximum"} <= schema.keys():
        yield f"{schema['minimum']:,} to {schema['maximum']:,}"
    else:
        yield from (f"{word} {schema[key]:,}" for key, word in words.items() if key in schema)


def _default(value: Any) -> str:
    return "" if value is None else f"`{value!r}`"


def _prose(text: str | None) -> str:
    """Escape what Markdown would take for emphasis or for the border of a cell."""
    return re.sub(r"[*|]", r"\\\g<0>", text or "")


def _joined(parts: Iterable[str]) -> str:
    return "\n\n".join(part for part in parts if part) + "\n"


STUB = '''# Made by `python -m tests.docs.generate` from the code: do not edit.
"""The public names of `fastdup_ray`, for editors and type checkers; see `__init__.py`."""

import os
from collections.abc import Iterable
from typing import Literal, overload

from fastdup_ray.common.path_lists import DataFrame
{imports}

StrPath = str | os.PathLike[str]

__version__: str

def run(
{run}
) -> int: ...
@overload
def deduplicate(config: RunConfig, /) -> RunResult: ...
@overload
def deduplicate(
{deduplicate}
) -> RunResult: ...
'''


def make_stub() -> str:
    """Return the stub of the package: its public names, and the parameters of `run` and `deduplicate`."""
    functions = {name: getattr(fastdup_ray, name) for name in ("run", "deduplicate")}
    modules = {name: getattr(fastdup_ray, name).__module__ for name in fastdup_ray.__all__ if name[0] != "_"}
    imports = [
        f"from {module} import {name} as {name}"
        for name, module in sorted(modules.items(), key=lambda pair: (pair[1], pair[0]))
        if name not in functions
    ]
    parameters = {name: _stub_parameters(function) for name, function in functions.items()}
    return STUB.format(imports="\n".join(imports), **parameters)


def _stub_parameters(function: Callable[..., Any]) -> str:
    parameters = inspect.signature(function).parameters.values()
    return "\n".join(f"    {it.name}: {_annotation(it.annotation)} = {_source(it.default)}," for it in parameters)


def _annotation(kind: Any) -> str:
    """Return a type as the stub has it, where names are imported and a path has a short name."""
    modules = r"\b(?:typing|collections\.abc|fastdup_ray\.common\.path_lists)\."
    text = re.sub(r"^Optional\[(.*)\]$", r"\1 | None", re.sub(modules, "", inspect.formatannotation(kind)))
    return text.replace("'", '"').replace("str | os.PathLike[str]", "StrPath")


def _source(value: Any) -> str:
    """Return a constant as ruff formats it."""
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str) else repr(value)


FILES = {
    DOCS / "cli.md": make_cli_page,
    DOCS / "parameters.md": make_parameters_page,
    ROOT / "fastdup_ray" / "__init__.pyi": make_stub,
}


def main() -> None:
    """Write all of them."""
    for path, make in FILES.items():
        path.write_text(make(), encoding="utf-8")


if __name__ == "__main__":
    main()
