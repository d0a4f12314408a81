"""What all commands have in common: options in groups, examples, colors, and messages that name flags."""

import sys
from typing import Any

import click

from fastdup_ray.cli.colors import shows_colors
from fastdup_ray.cli.flag_names import name_flags
from fastdup_ray.errors import FastdupError

OTHER_OPTIONS = "Options"
"""The heading of options that are in no group."""


class Formatter(click.HelpFormatter):
    """Writes headings in bold; click removes the escape codes where nobody sees them."""

    def write_usage(self, prog: str, args: str = "", prefix: str | None = None) -> None:
        super().write_usage(prog, args, click.style(prefix or "Usage:", bold=True).removesuffix(" ") + " ")

    def write_heading(self, heading: str) -> None:
        self.write(f"{'':>{self.current_indent}}{click.style(f'{heading}:', bold=True)}\n")


class Context(click.Context):
    """A context whose help is in color where colors are shown."""

    formatter_class = Formatter

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        if not shows_colors(sys.stdout):
            self.color = False


class Command(click.Command):
    """A command of `fastdup-ray`.

    Args:
        *args: See `click.Command`.
        examples: Lines of the shell, shown below the options.
        groups: The names of parameters by the heading that their options are shown under.
        front: The headings that `--help` shows; `--help-all` shows all. None: there are few options, and `--help` shows
            all.
        **settings: See `click.Command`.
    """

    context_class = Context

    def __init__(
        self,
        *args: Any,
        examples: str,
        groups: dict[str, tuple[str, ...]] | None = None,
        front: tuple[str, ...] | None = None,
        **settings: Any,
    ) -> None:
        super().__init__(*args, **settings)
        self.examples, self._groups, self._front = examples.strip(), groups or {}, front
        if front is not None:
            self.params.append(
                click.Option(
                    ["--help-all"],
                    is_flag=True,
                    is_eager=True,
                    expose_value=False,
                    callback=_show_all,
                    help="Show all options and exit.",
                )
            )

    def group_options(self) -> dict[str, list[click.Option]]:
        """Return the options under their headings, in the order in which they are shown."""
        headings: dict[str, str] = {}
        for heading, names in self._groups.items():
            for name in names:
                headings.setdefault(name, heading)
        order = {name: place for place, name in enumerate(headings)}
        grouped: dict[str, list[click.Option]] = {heading: [] for heading in (*self._groups, OTHER_OPTIONS)}
        for param in sorted(self.params, key=lambda param: order.get(param.name or "", len(order))):
            if isinstance(param, click.Option) and not param.hidden:
                grouped[headings.get(param.name or "", OTHER_OPTIONS)].append(param)
        return grouped

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options in groups; without `--help-all` only the groups in front."""
        shown = None if self._front is None or ctx.meta.get(_ALL) else {*self._front, OTHER_OPTIONS}
        for heading, options in self.group_options().items():
            if heading == OTHER_OPTIONS and (help_option := self.get_help_option(ctx)):
                options.append(help_option)
            records = [record for option in options if (record := option.get_help_record(ctx))]
            if records and (shown is None or heading in shown):
                with formatter.section(heading):
                    formatter.write_dl(records)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """Write the examples."""
        with formatter.section("Examples"):
            for line in self.examples.splitlines():
                formatter.write(f"{'':>{formatter.current_indent}}{line}\n")

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; errors name parameters as they are written here, as flags."""
        try:
            return super().invoke(ctx)
        except FastdupError as error:
            raise CommandError(name_flags(str(error), self), error.exit_code) from error


class CommandError(FastdupError):
    """An error of a command in the words of the command line.

    Args:
        message: See `FastdupError`.
        exit_code: Exit code of the command.
    """

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


_ALL = "fastdup_ray.help_all"
"""The key of a context that says whether all options are shown."""


def _show_all(ctx: click.Context, _param: click.Parameter, value: bool) -> None:  # noqa: FBT001 (click's signature)
    if value and not ctx.resilient_parsing:
        ctx.meta[_ALL] = True
        click.echo(ctx.get_help(), color=ctx.color)
        ctx.exit()
