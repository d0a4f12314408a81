"""The commands `plan`, `apply`, `undo` and `serve`."""

import sys

import click

from fastdup_ray.analysis.keeper_assignment import DIRECT, GROUPINGS, Grouping
from fastdup_ray.analysis.keepers import DEFAULT_RULES, list_rules
from fastdup_ray.cli.s3_options import add_s3_options
from fastdup_ray.common import layout
from fastdup_ray.common.events import print_lines
from fastdup_ray.curation.apply import ApplyResult, apply_plan, ignore_line
from fastdup_ray.curation.dataset import DatasetResult, build_dataset
from fastdup_ray.curation.duplicate_rules import DEFAULT_DROP, DROPPABLE, STRICT
from fastdup_ray.curation.file_ops import LINK_KINDS, Link
from fastdup_ray.curation.make_plan import make_plan
from fastdup_ray.curation.server import serve as serve_report
from fastdup_ray.curation.undo import undo as undo_moves
from fastdup_ray.errors import ConfigError


@click.command("plan")
@click.argument("work_dir", metavar="WORK_DIR")
@click.option(
    "--keep",
    default=DEFAULT_RULES,
    metavar="RULE,…",
    help=f"Rules that choose the image to keep of a group, the most important first: {list_rules()}. "
    f"If none decides, the first name is kept.  [{DEFAULT_RULES}]",
)
@click.option(
    "--grouping",
    default=DIRECT,
    metavar="|".join(GROUPINGS),
    help="direct: each dropped image duplicates its keeper itself; components: it may do so over any number of steps "
    f"(a resembles b, b resembles c).  [{DIRECT}]",
)
@click.option(
    "--threshold",
    type=float,
    metavar="NUMBER",
    help="Drop only images more similar than this to their keeper (0–1); 1: only those with the same bytes.  "
    f"[none after a run with verified pairs, else {STRICT}]",
)
@click.option(
    "--drop",
    default=DEFAULT_DROP,
    metavar="RELATION,…",
    help=f"Near duplicates to drop, by their verified relation to the keeper: {', '.join(sorted(DROPPABLE))}.  "
    f"[{DEFAULT_DROP}]",
)
@click.option(
    "--save-path",
    metavar="FILE",
    help="Write the plan here: JSON if the name ends in .json, else CSV; - for standard output.  [WORK_DIR/plan.csv]",
)
@click.option("--overwrite", is_flag=True, help="Replace an existing file, such as a plan that you edited.")
@add_s3_options
def plan(
    work_dir: str,
    save_path: str | None,
    keep: str,
    grouping: Grouping,
    threshold: float | None,
    drop: str,
    *,
    overwrite: bool,
    **access: bool,
) -> None:
    """Suggest which duplicates of a finished run to drop.

    Writes a plan that you can edit: one row for each image that has a duplicate, with keep or drop, and the reason.
    Nothing else is changed.
    """
    summary = make_plan(work_dir, save_path, keep, grouping, threshold, drop=drop, overwrite=overwrite, **access)
    print_lines(summary.text(), sys.stderr if summary.is_stdout else sys.stdout)


@click.command("apply")
@click.argument("plan", metavar="PLAN")
@click.option(
    "--quarantine",
    default=layout.QUARANTINE,
    metavar="FOLDER",
    help=f"Move files here: a folder, or a prefix of a bucket.  [{layout.QUARANTINE}, in the current folder]",
)
@click.option("--execute", is_flag=True, help="Move the files (default: dry run).")
@click.option(
    "--link",
    type=click.Choice(LINK_KINDS),
    help="Move nothing. Instead, build a data set of the kept images in the folder --to, of links or copies.",
)
@click.option("--to", metavar="FOLDER", help="With --link: the folder of the data set.")
@click.option("--work-dir", metavar="WORK_DIR", help="The run that PLAN was made from.  [the folder of PLAN]")
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
    any_plan: bool,
    **access: bool,
) -> None:
    """Move the images that a plan drops to a quarantine folder. Nothing is deleted, and undo restores the files.

    Without --execute, every file is checked and nothing is moved. Right before each move, the image and its keeper are
    compared with what the run saw. Images that changed, or cannot be moved, stay where they are, and the exit code is
    5. If the command is interrupted, run it again to resume. A plan of another run is refused.
    """
    result: ApplyResult | DatasetResult
    if link is None and to is None:
        # A dry run lists its files after the total, and not all of them.
        tell = print_lines if execute else ignore_line
        result = apply_plan(
            plan, quarantine, execute=execute, tell=tell, work_dir=work_dir, any_plan=any_plan, **access
        )
    elif link is None or to is None:
        raise ConfigError("--link and --to belong together: give both or neither.")
    else:
        result = build_dataset(plan, to, link, work_dir, execute=execute, tell=print_lines, any_plan=any_plan, **access)
    print_lines(result.text())
    result.check()


@click.command("undo")
@click.argument("quarantine", default=layout.QUARANTINE, metavar="[FOLDER]")
@click.option("--only", metavar="GLOB", help="Restore only matching files, such as *.png or holiday/**.")
@add_s3_options
def undo(quarantine: str, only: str | None, **access: bool) -> None:
    """Restore the files that apply moved to a quarantine folder.

    Nothing is overwritten: if another file is in the place of an image by now, the image stays in the quarantine, and
    the exit code is 5. If the command is interrupted, run it again to resume.
    """
    result = undo_moves(quarantine, only, print_lines, **access)
    print_lines(result.text())
    result.check()


@click.command("serve")
@click.argument("work_dir", metavar="WORK_DIR")
@click.option("--host", default="127.0.0.1", metavar="ADDRESS", help="The IP address to listen on.  [127.0.0.1]")
@click.option(
    "--port", default=0, metavar="INTEGER", type=click.IntRange(0, 65535), help="The port to listen on.  [a free one]"
)
@add_s3_options
def serve(work_dir: str, host: str, port: int, **access: bool) -> None:
    """Open the report in a browser, with full-size images.

    Prints the address to open. Decisions made there are saved in WORK_DIR/plan.csv.
    """
    serve_report(work_dir, host, port, **access)


COMMANDS = (plan, apply, undo, serve)
