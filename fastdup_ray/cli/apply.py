"""The command `apply`."""

from functools import partial
from typing import TYPE_CHECKING

import click

from fastdup_ray.cli.command import Command
from fastdup_ray.cli.completion import complete_folder, complete_path
from fastdup_ray.cli.progress import show_progress
from fastdup_ray.cli.s3_options import add_s3_options
from fastdup_ray.common import layout
from fastdup_ray.common.events import print_lines
from fastdup_ray.curation.file_ops import LINK_KINDS, Link
from fastdup_ray.errors import ConfigError

if TYPE_CHECKING:
    from fastdup_ray.curation.apply import ApplyResult
    from fastdup_ray.curation.dataset import DatasetResult

EXAMPLES = """
fastdup-ray apply out/plan.csv
fastdup-ray apply out/plan.csv --execute
fastdup-ray apply out/plan.csv --link hard --to clean/ --execute
"""


@click.command("apply", cls=Command, examples=EXAMPLES)
@click.argument("plan", metavar="PLAN", shell_complete=complete_path)
@click.option(
    "--quarantine",
    default=layout.QUARANTINE,
    metavar="FOLDER",
    help=f"Move files here: a folder, or a prefix of a bucket.  [{layout.QUARANTINE}, in the current folder]",
    shell_complete=complete_folder,
)
@click.option("--execute", is_flag=True, help="Move the files (default: dry run).")
@click.option("-v", "--verbose", is_flag=True, help="List all files, rather than five of them.")
@click.option(
    "--any-sidecars",
    is_flag=True,
    help="Move images even if their sidecars, such as annotations, are missing beside the keeper or differ there.",
)
@click.option(
    "--link",
    type=click.Choice(LINK_KINDS),
    help="Move nothing. Instead, build a data set of the kept images in the folder --to, of links or copies.",
)
@click.option("--to", metavar="FOLDER", help="With --link: the folder of the data set.", shell_complete=complete_folder)
@click.option(
    "--work-dir",
    metavar="WORK_DIR",
    help="The run that PLAN was made from.  [the folder of PLAN]",
    shell_complete=complete_folder,
)
@click.option("--any-plan", is_flag=True, help="Accept a plan of another run, or of none.")
@add_s3_options
def apply(
    plan: str,
    quarantine: str,
    link: Link | None,
    to: str | None,
    work_dir: str | None,
    *,
    execute: bool,
    verbose: bool,
    any_sidecars: bool,
    any_plan: bool,
    **access: bool,
) -> None:
    """Move the images that a plan drops to a quarantine folder. Nothing is deleted, and undo restores the files.

    Without --execute, every file is checked and nothing is moved. Right before each move, the image and its keeper are
    compared with what the run saw. Images that changed, cannot be moved, or have sidecars that their keepers lack, stay
    where they are, and the exit code is 5. If the command is interrupted, run it again to resume. A plan of another
    run is refused.
    """
    result: ApplyResult | DatasetResult
    if link is None and to is None:
        from fastdup_ray.curation.apply import apply_plan, ignore_line  # imports what only this command needs

        result = apply_plan(
            plan,
            quarantine,
            execute=execute,
            any_sidecars=any_sidecars,
            tell=ignore_line,
            track=partial(show_progress, title="Moving" if execute else "Checking"),
            work_dir=work_dir,
            any_plan=any_plan,
            **access,
        )
        print_lines(result.text(verbose=verbose))
    elif link is None or to is None:
        raise ConfigError("--link and --to belong together: give both or neither.")
    else:
        from fastdup_ray.curation.dataset import build_dataset

        result = build_dataset(plan, to, link, work_dir, execute=execute, tell=print_lines, any_plan=any_plan, **access)
        print_lines(result.text())
    result.check()
