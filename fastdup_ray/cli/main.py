"""The command `fastdup-ray`. Its flags are made from `RunConfig`."""

import json
import sys
import traceback
from contextlib import nullcontext, redirect_stdout
from typing import Any

import click

from fastdup_ray.api import run_and_print
from fastdup_ray.cli.curation import COMMANDS
from fastdup_ray.cli.s3_options import add_s3_options
from fastdup_ray.common.events import log_to_console, print_lines
from fastdup_ray.config import TURI_NAMES, RunConfig
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

_SCHEMA = RunConfig.model_json_schema()["properties"]


def _flag(name: str) -> click.Option:
    field = RunConfig.model_fields[name]
    flag = "--" + name.replace("_", "-")
    default = int(field.default) if isinstance(field.default, bool) else field.default
    text = field.description if default in (None, "", []) else f"{field.description}  [{default}]"
    if field.default is True and name not in TURI_NAMES:
        return click.Option([f"{flag}/--no-{flag[2:]}"], default=None, help=field.description)
    if field.default is False:
        return click.Option([flag], is_flag=True, default=None, help=field.description)
    several = _SCHEMA[name].get("type") == "array"
    return click.Option([flag], metavar=_metavar(_SCHEMA[name]), multiple=several, default=None, help=text)


def _metavar(schema: dict[str, Any]) -> str:
    """The choices, or the type, as pydantic's JSON schema of a parameter has them."""
    kinds = [part for part in schema.get("anyOf", [schema]) if part.get("type") != "null"]
    if "enum" in kinds[0]:
        return "|".join(map(str, kinds[0]["enum"]))
    if kinds[0]["type"] == "array":
        return kinds[0]["items"].get("title", "GLOB")
    return {"boolean": "0|1", "string": "TEXT"}.get(kinds[0]["type"], kinds[0]["type"].upper())


def _run(input_dir: str | None, more: tuple[str, ...], fail_over: int | None, **flags: Any) -> None:
    given = {name: value for name, value in flags.items() if value is not None}
    inputs = [*([input_dir] if input_dir is not None else []), *more]
    config = RunConfig.from_text({"input_dir": inputs[0] if len(inputs) == 1 else inputs or None} | given)
    if fail_over is not None and not config.incremental:
        raise ConfigError("--fail-over counts what is new since the last run: give --incremental with it.")
    result = run_and_print(config)
    if fail_over is not None and result is not None and result.summary["changes"]["new_pairs"] > fail_over:
        raise NewPairsError(f"{result.summary['changes']['new_pairs']:,} pairs are new; {fail_over:,} are allowed.")


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120})
@click.version_option(__version__, message="%(version)s")
def cli() -> None:
    """Finds copies, near copies, outliers and broken pictures.

    \b
    Exit codes: 0 done, 1 failed (a line says why), 2 usage,
    3 the work_dir is in use by another run, 130 interrupted,
    4 more copies, or new pairs, than --fail-over allows,
    5 apply or undo left files where they are (a line says why for each).
    """


cli.add_command(
    click.Command(
        "run",
        callback=_run,
        params=[
            click.Argument(["input_dir"], required=False, metavar="[INPUT]"),
            click.Option(["--input", "more"], multiple=True, metavar="PLACE", help="One more INPUT."),
            click.Option(
                ["--fail-over"],
                type=click.IntRange(min=0),
                metavar="N",
                help="With --incremental: exit with 4 where more than N pairs are new.",
            ),
            *(_flag(name) for name in RunConfig.model_fields if name != "input_dir"),
        ],
        help="De-duplicates INPUT: a folder, a picture, video or archive, or a file that lists some.",
    )
)


@cli.command("evaluate")
@click.argument("location", metavar="WORK_DIR_OR_FOLDER")
@click.argument("truth", metavar="TRUTH.csv")
@click.option("--plot", metavar="FILE.svg", help="Draw the curves; - for standard output.")
@click.option("--overwrite", is_flag=True, help="Replace a drawing that is there.")
@click.option("--work-dir", metavar="TEXT", help="Keep the features of a folder here; not given: nowhere.")
@click.option("--executor", metavar="ray|inline", help=RunConfig.model_fields["executor"].description)
@add_s3_options
def _evaluate(location: str, truth: str, **options: Any) -> None:
    """Measures the cosines of a finished run, or of a folder of pictures, by a truth file.

    TRUTH.csv has the columns path (from its own folder on, or absolute), group (pictures that show the same) and, if
    you like, edit (what was done to a copy; empty for an original).
    """
    plot = options["plot"]
    is_stdout = plot is not None and NamedOutput(plot).is_stdout
    print_lines(evaluate(location, truth, **options).text(), sys.stderr if is_stdout else sys.stdout)


@cli.command("gallery")
@click.argument("work_dir", metavar="WORK_DIR")
@click.option("--save-path", metavar="FOLDER", help="Where the pages go.  [WORK_DIR]")
@click.option(
    "--overwrite", is_flag=True, help="Replace files in FOLDER of the names of pages that are not pages of ours."
)
@click.option(
    "--num-images", type=click.IntRange(1), default=20, metavar="N", help="Pairs or groups in a gallery.  [20]"
)
@click.option(
    "--thumbnails/--no-thumbnails",
    default=None,
    help=f"{RunConfig.model_fields['thumbnails'].description} Not given: as the run was asked.",
)
@add_s3_options
def _gallery(work_dir: str, **options: Any) -> None:
    """Makes the report and the galleries again from the outputs of a finished run, which may be in a bucket."""
    for path in make_pages(work_dir, **options):
        print_lines(path)


@cli.command("export")
@click.argument("work_dir", metavar="WORK_DIR")
@click.option("--format", type=click.Choice(list(FORMATS)), required=True, help="What other programs read.")
@click.option("--save-path", metavar="FILE", help="The file to write; - for standard output.  [one in WORK_DIR]")
@click.option("--overwrite", is_flag=True, help="Replace a FILE that is there.")
@click.option(
    "--plan",
    metavar="FILE",
    help="Says what is dropped.  [plan.csv of WORK_DIR; where there is none, what the command plan suggests]",
)
@click.option("--any-plan", is_flag=True, help="Take a plan of another run, or of none.")
@click.option(
    "--null", is_flag=True, help="End each name of a list with a NUL, for xargs -0 and for names with line breaks."
)
@add_s3_options
def _export(work_dir: str, **options: Any) -> None:
    """Writes what a finished run found for other programs.

    \b
    fiftyone   a JSON that fiftyone.Dataset.from_json loads
    drop-list  the files that the plan drops, one a line
    keep-list  all other good images, one a line
    """
    written = export(work_dir, **options)
    print_lines(written.text(), sys.stderr if written.is_stdout else sys.stdout)


def _leakage(train: str, test: str, fail_over: int | None, as_json: bool, **flags: Any) -> None:
    given = {name: value for name, value in flags.items() if value is not None}
    config = RunConfig.from_text({"input_dir": test} | given)
    to_stderr = redirect_stdout(sys.stderr) if as_json else nullcontext()
    with to_stderr, log_to_console(config.log_format, verbose=config.verbose):
        found = leakage(train, test, **{name: getattr(config, name) for name in given})
    print_lines(json.dumps(found.as_dict(), indent=1) if as_json else found.text())
    if fail_over is not None:
        found.fail_over(fail_over)


cli.add_command(
    click.Command(
        "leakage",
        callback=_leakage,
        params=[
            click.Option(["--train"], required=True, metavar="A", help="A folder, a list file, or a finished run."),
            click.Option(["--test"], required=True, metavar="B", help="A folder, a list file, or features."),
            click.Option(
                ["--fail-over"],
                type=click.IntRange(min=0),
                metavar="N",
                help="Exit with 4 where more than N pictures of B stand in A.",
            ),
            click.Option(["--json", "as_json"], is_flag=True, help="Print the counts as JSON."),
            click.Option(["--threshold"], metavar="NUMBER", help=f"Pairs with a cosine above it count.  [{THRESHOLD}]"),
            *(_flag(name) for name in RunConfig.model_fields if name not in (*FIXED_PARAMETERS, "threshold")),
        ],
        help="Finds the pictures of a test set B that stand in the training set A, as exact or near copies.\n\n"
        "Writes leakage.csv into the work_dir. Exit code 4: more of them than --fail-over allows.",
    )
)

for command in (*COMMANDS, doctor):
    cli.add_command(command)


def main(arguments: list[str] | None = None) -> None:
    """Run the command and exit with its code; a user's mistake is one line, never a traceback.

    A signal that asks the process to end does so within ten seconds; see `interruption`.
    """
    prepare_process()
    try:
        with end_on_signals():
            try:
                cli.main(arguments, prog_name=PROGRAM, standalone_mode=False)
            finally:
                sys.stdout.flush()
    except click.ClickException as error:
        error.message = redact(error.message)
        error.show()
        sys.exit(2)
    except FastdupError as error:
        print_lines(f"{PROGRAM}: {error}", sys.stderr)
        sys.exit(error.exit_code)
    except OSError as error:
        print_lines(f"{PROGRAM}: {redact(str(error))}", sys.stderr)
        sys.exit(FastdupError.exit_code)
    except click.Abort:
        sys.exit(EXIT_CODE)
    except Exception:  # a fault of ours; libraries quote the addresses that they were given
        print_lines(redact(traceback.format_exc()).rstrip(), sys.stderr)
        sys.exit(FastdupError.exit_code)


if __name__ == "__main__":
    main()
