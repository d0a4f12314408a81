"""The command `fastdup-ray`: its commands, and how it ends."""

import json
import sys
import traceback
from contextlib import nullcontext, redirect_stdout
from io import StringIO
from typing import Any

import click

from fastdup_ray.api import run_and_print
from fastdup_ray.cli.compare import compare
from fastdup_ray.cli.curation import COMMANDS
from fastdup_ray.cli.flags import make_flag, name_flags
from fastdup_ray.cli.s3_options import add_s3_options
from fastdup_ray.cli.search import search
from fastdup_ray.common.events import log_to_console, print_lines
from fastdup_ray.config import RunConfig
from fastdup_ray.doctor.cli import doctor
from fastdup_ray.errors import ConfigError, FastdupError, NewPairsError, redact
from fastdup_ray.evaluation import evaluate, leakage
from fastdup_ray.evaluation.leakage import FIXED_PARAMETERS, THRESHOLD
from fastdup_ray.export import FORMATS, export
from fastdup_ray.report.regenerate import make_pages
from fastdup_ray.storage.named_output import NamedOutput
from fastdup_ray.system.interruption import EXIT_CODE, end_on_signals
from fastdup_ray.system.process import prepare_process
from fastdup_ray.version import __version__

PROGRAM = "fastdup-ray"


def _run(input_dir: str | None, more: tuple[str, ...], fail_over: int | None, **flags: Any) -> None:
    given = {name: value for name, value in flags.items() if value is not None}
    inputs = [*([input_dir] if input_dir is not None else []), *more]
    config = RunConfig.from_text({"input_dir": inputs[0] if len(inputs) == 1 else inputs or None} | given)
    if fail_over is not None and not config.incremental:
        raise ConfigError("--fail-over counts pairs that are new since the last run: add --incremental.")
    result = run_and_print(config)
    if fail_over is not None and result is not None and result.summary["changes"]["new_pairs"] > fail_over:
        raise NewPairsError(f"{result.summary['changes']['new_pairs']:,} new pairs; --fail-over allows {fail_over:,}.")


# click prints a paragraph that begins with a backspace as it is; a docstring would have it spelled out.
_HELP = """Find duplicate, near-duplicate, outlier and broken images.

\b
Exit codes: 0 done, 1 failed (see the message), 2 usage,
3 another run is using the work_dir, 130 interrupted,
4 more duplicates or new pairs than --fail-over allows,
5 apply or undo left files in place (see the messages).
"""

_EXPORT_HELP = """Export results for other tools.

\b
fiftyone   a JSON file for fiftyone.Dataset.from_json
drop-list  the files that the plan drops, one per line
keep-list  all other good images, one per line
"""


@click.group(help=_HELP, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120})
@click.version_option(__version__, message="%(version)s")
def cli() -> None:
    """Collect the commands."""


cli.add_command(
    click.Command(
        "run",
        callback=_run,
        params=[
            click.Argument(["input_dir"], required=False, metavar="[INPUT]"),
            click.Option(["--input", "more"], multiple=True, metavar="INPUT", help="Add another input (repeatable)."),
            click.Option(
                ["--fail-over"],
                type=click.IntRange(min=0),
                metavar="N",
                help="With --incremental: exit with 4 if there are more than N new pairs.",
            ),
            *(make_flag(name) for name in RunConfig.model_fields if name != "input_dir"),
        ],
        help="Find duplicates in INPUT: a folder, image, video, archive, or list of paths.",
    )
)


@cli.command("evaluate")
@click.argument("location", metavar="WORK_DIR_OR_FOLDER")
@click.argument("truth", metavar="TRUTH.csv")
@click.option("--plot", metavar="FILE.svg", help="Draw the curves; - for standard output.")
@click.option("--overwrite", is_flag=True, help="Replace FILE.svg if it exists.")
@click.option("--work-dir", metavar="TEXT", help="Keep the run on a folder here.  [a temporary folder]")
@click.option("--executor", metavar="auto|local|ray|inline", help=RunConfig.model_fields["executor"].description)
@add_s3_options
def _evaluate(location: str, truth: str, **options: Any) -> None:
    """Measure precision and recall against known duplicates.

    Takes a finished run, or a folder of images, on which a run is made first. Measures the similarities and, if the run
    has verified pairs, their relations. TRUTH.csv has the columns path (absolute, or relative to its own
    folder), group (duplicates have the same one) and, if you like, edit (how a copy was edited; empty for originals).
    """
    plot = options["plot"]
    is_stdout = plot is not None and NamedOutput(plot).is_stdout
    print_lines(evaluate(location, truth, **options).text(), sys.stderr if is_stdout else sys.stdout)


@cli.command("gallery")
@click.argument("work_dir", metavar="WORK_DIR")
@click.option("--save-path", metavar="FOLDER", help="Where to write the pages.  [WORK_DIR]")
@click.option("--overwrite", is_flag=True, help="Replace pages in FOLDER that fastdup-ray did not write.")
@click.option(
    "--num-images", type=click.IntRange(1), default=20, metavar="N", help="Pairs or groups per gallery.  [20]"
)
@click.option(
    "--thumbnails/--no-thumbnails",
    default=None,
    help=f"{RunConfig.model_fields['thumbnails'].description} Not given: as in the run.",
)
@add_s3_options
def _gallery(work_dir: str, **options: Any) -> None:
    """Rebuild the report and galleries of a finished run."""
    for path in make_pages(work_dir, **options):
        print_lines(path)


@cli.command("export", help=_EXPORT_HELP)
@click.argument("work_dir", metavar="WORK_DIR")
@click.option("--format", type=click.Choice(list(FORMATS)), required=True, help="What to write.")
@click.option("--save-path", metavar="FILE", help="The file to write; - for standard output.  [a file in WORK_DIR]")
@click.option("--overwrite", is_flag=True, help="Replace FILE if it exists.")
@click.option(
    "--plan",
    metavar="FILE",
    help="The plan that says what to drop.  [plan.csv of WORK_DIR, or else what the command plan suggests]",
)
@click.option("--any-plan", is_flag=True, help="Accept a plan of another run, or of none.")
@click.option("--null", is_flag=True, help="End each file name with NUL, for xargs -0 and names with line breaks.")
@add_s3_options
def _export(work_dir: str, **options: Any) -> None:
    result = export(work_dir, **options)
    print_lines(result.text(), sys.stderr if result.is_stdout else sys.stdout)


def _leakage(*, train: str, test: str, fail_over: int | None, as_json: bool, **flags: Any) -> None:
    given = {name: value for name, value in flags.items() if value is not None}
    config = RunConfig.from_text({"input_dir": test} | given)
    to_stderr = redirect_stdout(sys.stderr) if as_json else nullcontext()
    with to_stderr, log_to_console(config.log_format, verbose=config.verbose):
        result = leakage(train, test, **{name: getattr(config, name) for name in given})
    print_lines(json.dumps(result.as_dict(), indent=1) if as_json else result.text())
    if fail_over is not None:
        result.fail_over(fail_over)


cli.add_command(
    click.Command(
        "leakage",
        callback=_leakage,
        params=[
            click.Option(["--train"], required=True, metavar="A", help="A folder, a list file, or a finished run."),
            click.Option(["--test"], required=True, metavar="B", help="A folder, a list file, or a features file."),
            click.Option(
                ["--fail-over"],
                type=click.IntRange(min=0),
                metavar="N",
                help="Exit with 4 if more than N test images also appear in A.",
            ),
            click.Option(["--json", "as_json"], is_flag=True, help="Print the counts as JSON."),
            click.Option(
                ["--threshold"], metavar="NUMBER", help=f"Count pairs more similar than this (0–1).  [{THRESHOLD}]"
            ),
            *(make_flag(name) for name in RunConfig.model_fields if name not in (*FIXED_PARAMETERS, "threshold")),
        ],
        help="Find test images that also appear in the training set, as exact or near duplicates.\n\n"
        "Writes leakage.csv to the work_dir.",
    )
)

for command in (compare, search, *COMMANDS, doctor):
    cli.add_command(command)


def main(arguments: list[str] | None = None) -> None:
    """Run the command, and exit with its code.

    A mistake of the user is one line, never a traceback. A signal that asks the process to end does so within ten
    seconds; see `system.interruption`.

    Args:
        arguments: The words after the name of the program; None for those of this process.
    """
    prepare_process()
    try:
        with end_on_signals():
            try:
                cli.main(arguments, prog_name=PROGRAM, standalone_mode=False)
            finally:
                sys.stdout.flush()
    except click.ClickException as error:
        error.show(text := StringIO())
        print_lines(redact(text.getvalue()).rstrip("\n"), sys.stderr)
        sys.exit(ConfigError.exit_code)
    except FastdupError as error:
        message = name_flags(str(error), cli) if isinstance(error, ConfigError) else str(error)
        print_lines(f"{PROGRAM}: {message}", sys.stderr)
        sys.exit(error.exit_code)
    except OSError as error:
        print_lines(f"{PROGRAM}: {redact(str(error))}", sys.stderr)
        sys.exit(FastdupError.exit_code)
    except click.Abort:
        sys.exit(EXIT_CODE)
    except Exception:  # a bug; libraries quote the addresses that they were given
        print_lines(redact(traceback.format_exc()).rstrip(), sys.stderr)
        sys.exit(FastdupError.exit_code)


if __name__ == "__main__":
    main()
