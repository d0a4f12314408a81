"""The command `leakage`."""

import json
import sys
from contextlib import nullcontext, redirect_stdout
from typing import Any

import click

from fastdup_ray.cli.command import Command
from fastdup_ray.cli.completion import complete_path
from fastdup_ray.cli.flags import FRONT, GROUPS, make_flag, make_quiet_flag, parse_flags
from fastdup_ray.common.events import log_to_console, print_lines
from fastdup_ray.config import RunConfig
from fastdup_ray.evaluation.leakage_parameters import FIXED_PARAMETERS, THRESHOLD

EXAMPLES = """
fastdup-ray leakage --train train/ --test test/ -o leak
fastdup-ray leakage --train train/ --test test/ -o leak --fail-over 0 --json
"""


def _leakage(*, train: str, test: str, fail_over: int | None, as_json: bool, **flags: Any) -> None:
    from fastdup_ray.evaluation.leakage import leakage as find_leakage  # imports what only this command needs

    config = parse_flags(test, **flags)
    to_stderr = redirect_stdout(sys.stderr) if as_json else nullcontext()
    with to_stderr, log_to_console(config.log_format, verbose=config.verbose):
        result = find_leakage(
            train, test, **{name: getattr(config, name) for name in config.model_fields_set - {"input_dir"}}
        )
    print_lines(json.dumps(result.as_dict(), indent=1) if as_json else result.text())
    if fail_over is not None:
        result.fail_over(fail_over)


leakage = Command(
    "leakage",
    callback=_leakage,
    params=[
        click.Option(
            ["--train"],
            required=True,
            metavar="A",
            help="A folder, a list file, or a finished run.",
            shell_complete=complete_path,
        ),
        click.Option(
            ["--test"],
            required=True,
            metavar="B",
            help="A folder, a list file, or a features file.",
            shell_complete=complete_path,
        ),
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
        make_quiet_flag(),
        *(make_flag(name) for name in RunConfig.model_fields if name not in (*FIXED_PARAMETERS, "threshold")),
    ],
    help="Find test images that also appear in the training set, as exact or near duplicates.\n\n"
    "Writes leakage.csv to the work_dir.",
    examples=EXAMPLES,
    groups={"Comparison": ("train", "test", "as_json", "fail_over"), **GROUPS},
    front=("Comparison", *FRONT),
)
