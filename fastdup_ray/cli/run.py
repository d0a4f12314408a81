"""The command `run`."""

import sys
from typing import Any

import click

from fastdup_ray.cli.command import Command
from fastdup_ray.cli.completion import complete_path
from fastdup_ray.cli.flags import FRONT, GROUPS, make_flag, make_quiet_flag, parse_flags
from fastdup_ray.common.events import print_lines
from fastdup_ray.config import RunConfig
from fastdup_ray.errors import ConfigError, NewPairsError
from fastdup_ray.system.garbage import pause_collection

EXAMPLES = """
fastdup-ray run photos/ -o out
fastdup-ray run photos/ -o out --threshold 0.9 --exclude 'thumbs/**'
fastdup-ray run new/ -o out --reference originals/
find photos -name '*.jpg' | fastdup-ray run - -o out
"""


_STDIN = "/dev/stdin"


def _run(input_dir: str | None, more: tuple[str, ...], fail_over: int | None, **flags: Any) -> None:
    inputs = [_STDIN if name == "-" else name for name in (input_dir, *more) if name is not None]
    config = parse_flags(inputs[0] if len(inputs) == 1 else inputs or None, **flags)
    if fail_over is not None and not config.incremental:
        raise ConfigError("--fail-over counts pairs that are new since the last run: add --incremental.")

    from fastdup_ray.executors.child_process import FirstChild

    with FirstChild(config) as first:  # it starts while this process imports the rest
        with pause_collection():
            from fastdup_ray.api import run_and_print
            from fastdup_ray.doctor.packages import describe_twins

        for twins in describe_twins():
            print_lines(f"Warning: {twins}. See: fastdup-ray doctor", sys.stderr)
        result = run_and_print(config, first)
    if fail_over is not None and result is not None and result.summary["changes"]["new_pairs"] > fail_over:
        raise NewPairsError(f"{result.summary['changes']['new_pairs']:,} new pairs; --fail-over allows {fail_over:,}.")


run = Command(
    "run",
    callback=_run,
    params=[
        click.Argument(["input_dir"], required=False, metavar="[INPUT]", shell_complete=complete_path),
        click.Option(
            ["--input", "more"],
            multiple=True,
            metavar="INPUT",
            help="Add another input (repeatable).",
            shell_complete=complete_path,
        ),
        click.Option(
            ["--fail-over"],
            type=click.IntRange(min=0),
            metavar="N",
            help="With --incremental: exit with 4 if there are more than N new pairs.",
        ),
        make_quiet_flag(),
        *(make_flag(name) for name in RunConfig.model_fields if name != "input_dir"),
    ],
    help="Find duplicates in INPUT: a folder, image, video, archive, Parquet file, or list of paths.\n\n"
    "INPUT may be -, which reads a list from standard input.",
    examples=EXAMPLES,
    groups=GROUPS,
    front=tuple(FRONT),
)
