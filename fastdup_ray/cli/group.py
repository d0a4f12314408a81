"""The commands of `fastdup-ray`, by subject. The module of a command is imported when the command is used."""

import difflib
import importlib
import sys

import click

from fastdup_ray.cli.command import Context
from fastdup_ray.errors import ConfigError
from fastdup_ray.system.garbage import pause_collection
from fastdup_ray.version import __version__

PROGRAM = "fastdup-ray"

COMMANDS = {
    "Find duplicates": {
        "run": "Find duplicates in INPUT: a folder, image, video, archive, Parquet file, or list of paths.",
        "search": "Find the images of a finished run that are most similar to IMAGE, or to a text.",
        "compare": "Say what two images are to each other, in full detail.",
    },
    "Review and clean up": {
        "serve": "Open the report in a browser, with full-size images.",
        "plan": "Suggest which duplicates of a finished run to drop.",
        "apply": "Move the images that a plan drops to a quarantine folder.",
        "undo": "Restore the files that apply moved to a quarantine folder.",
    },
    "Use the results": {
        "export": "Export results for other tools.",
        "log": "Log a finished run to MLflow or Weights & Biases: parameters, counts and the report.",
        "split": "Split the images of a finished run into training, validation and test, with no duplicates across.",
        "clusters": "Cluster the images of a finished run: images that look alike without being duplicates.",
        "subset": "List the N most diverse images of a finished run, the most typical one first.",
        "gallery": "Rebuild the report and galleries of a finished run.",
        "evaluate": "Measure precision and recall against known duplicates.",
        "leakage": "Find test images that also appear in the training set, as exact or near duplicates.",
    },
    "Prepare a model": {
        "export-model": "Make an ONNX file of a checkpoint of DINOv2, CLIP or SSCD, for run --model.",
    },
    "Check the installation": {
        "doctor": "Check that this machine can run fastdup-ray.",
    },
}
"""The first sentence of the help of each command, under headings. The command `x-y` is `x_y` in the module
`cli.x_y`."""

# click prints a paragraph that begins with a backspace as it is; a docstring would have it spelled out.
_EPILOG = f"""\b
Exit codes: 0 done, 1 failed (see the message), 2 usage,
3 another run is using the work_dir, 130 interrupted,
4 more duplicates or new pairs than --fail-over allows,
5 apply or undo left files in place (see the messages).

{PROGRAM} COMMAND --help has options and examples of a command."""


class LazyGroup(click.Group):
    """A group that shows its help without importing its commands."""

    context_class = Context

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 (click's signature)
        return [name for commands in COMMANDS.values() for name in commands]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.list_commands(ctx):
            return None
        with pause_collection():
            name = cmd_name.replace("-", "_")
            command = getattr(importlib.import_module(f"fastdup_ray.cli.{name}"), name)
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command that the first word names, or say which one it resembles."""
        name = args[0]
        if name not in self.list_commands(ctx) and not name.startswith("-"):
            similar = difflib.get_close_matches(name, self.list_commands(ctx), n=1)
            ctx.fail(f"No such command {name!r}." + (f" Did you mean {similar[0]!r}?" if similar else ""))
        return super().resolve_command(ctx, args)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands, then the options."""
        width = max(map(len, self.list_commands(ctx)))
        for heading, commands in COMMANDS.items():
            with formatter.section(heading):
                formatter.write_dl([(name.ljust(width), text) for name, text in commands.items()])
        click.Command.format_options(self, ctx, formatter)


@click.group(
    cls=LazyGroup,
    help="Find duplicate, near-duplicate, outlier and broken images.",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120},
    epilog=_EPILOG,
    invoke_without_command=True,
)
@click.version_option(__version__, "-V", "--version", message="%(version)s")
@click.pass_context
def cli(context: click.Context) -> None:
    """Show the help if no command is given."""
    if context.invoked_subcommand is None:
        click.echo(context.get_help(), err=True, color=context.color)
        sys.exit(ConfigError.exit_code)
