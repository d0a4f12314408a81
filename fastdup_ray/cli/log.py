"""The command `log`."""

from typing import Any

import click

from fastdup_ray.cli.command import Command
from fastdup_ray.cli.completion import complete_folder
from fastdup_ray.cli.s3_options import add_s3_options
from fastdup_ray.common.events import print_lines

TRACKERS = ("mlflow", "wandb")

EXAMPLES = """
fastdup-ray log out --to mlflow
fastdup-ray log out --to wandb --run-name nightly
"""


@click.command("log", cls=Command, examples=EXAMPLES)
@click.argument("work_dir", metavar="WORK_DIR", shell_complete=complete_folder)
@click.option("--to", type=click.Choice(TRACKERS), required=True, help="Where to log; needs the extra of that name.")
@click.option("--run-name", metavar="NAME", help="Name of the run in the tracker.  [chosen by the tracker]")
@click.option("--prefix", metavar="TEXT", default="", help="What the names of parameters and metrics begin with.")
@add_s3_options
def log(work_dir: str, to: str, run_name: str | None, prefix: str, **options: Any) -> None:
    """Log a finished run to MLflow or Weights & Biases: parameters, counts and the report.

    The tracker is configured by its own environment variables, such as MLFLOW_TRACKING_URI, WANDB_PROJECT or
    WANDB_MODE.
    """
    from fastdup_ray.common.access import make_access
    from fastdup_ray.result import RunResult  # imports what only this command needs
    from fastdup_ray.trackers import TRACKERS

    access = make_access(anonymous=options["s3_anonymous"], requester_pays=options["s3_requester_pays"])
    result = RunResult.open(work_dir, access=access)
    print_lines(TRACKERS[to](result, run_name=run_name, prefix=prefix).text())
