"""The command `evaluate`."""

import sys
from typing import Any

import click

from fastdup_ray.cli.command import Command
from fastdup_ray.cli.completion import complete_folder, complete_path
from fastdup_ray.cli.flags import make_flag
from fastdup_ray.cli.s3_options import add_s3_options
from fastdup_ray.common.events import print_lines

EXAMPLES = """
fastdup-ray evaluate out truth.csv
fastdup-ray evaluate photos/ truth.csv --plot curves.svg
"""

_EXECUTOR = make_flag("executor")


@click.command("evaluate", cls=Command, examples=EXAMPLES)
@click.argument("location", metavar="WORK_DIR_OR_FOLDER", shell_complete=complete_folder)
@click.argument("truth", metavar="TRUTH.csv", shell_complete=complete_path)
@click.option(
    "--plot", metavar="FILE.svg", help="Draw the curves; - for standard output.", shell_complete=complete_path
)
@click.option("--overwrite", is_flag=True, help="Replace FILE.svg if it exists.")
@click.option(
    "-o",
    "--work-dir",
    metavar="TEXT",
    help="Keep the run on a folder here.  [a temporary folder]",
    shell_complete=complete_folder,
)
@click.option("--executor", metavar=_EXECUTOR.metavar, help=_EXECUTOR.help, shell_complete=_EXECUTOR.shell_complete)
@add_s3_options
def evaluate(location: str, truth: str, **options: Any) -> None:
    """Measure precision and recall against known duplicates.

    Takes a finished run, or a folder of images, on which a run is made first. Measures the similarities and, if the run
    has verified pairs, their relations. TRUTH.csv has the columns path (absolute, or relative to its own
    folder), group (duplicates have the same one) and, if you like, edit (how a copy was edited; empty for originals).
    """
    from fastdup_ray.evaluation.evaluate import evaluate as measure  # imports what only this command needs
    from fastdup_ray.storage.named_output import NamedOutput

    plot = options["plot"]
    is_stdout = plot is not None and NamedOutput(plot).is_stdout
    print_lines(measure(location, truth, **options).text(), sys.stderr if is_stdout else sys.stdout)
