"""The commands `plan`, `apply`, `undo` and `serve`."""

import sys

import click

from fastdup_ray.analysis.keepers import DEFAULT_RULES
from fastdup_ray.cli.s3_options import add_s3_options
from fastdup_ray.common import layout
from fastdup_ray.common.events import print_lines
from fastdup_ray.curation.apply import apply_plan
from fastdup_ray.curation.dataset import build_dataset
from fastdup_ray.curation.file_ops import LINK_KINDS, Link
from fastdup_ray.curation.groups import DIRECT, GROUPINGS
from fastdup_ray.curation.make_plan import make_plan
from fastdup_ray.curation.server import serve as serve_report
from fastdup_ray.curation.suggest import STRICT
from fastdup_ray.curation.undo import undo as undo_moves
from fastdup_ray.errors import ConfigError


@click.command("plan")
@click.argument("work_dir", metavar="WORK_DIR")
@click.option(
    "--keep",
    default=DEFAULT_RULES,
    metavar="RULE,…",
    help="Which picture of a group is kept, the most important rule first: reference, resolution, bytes, oldest, "
    f"path:GLOB; then by name.  [{DEFAULT_RULES}]",
)
@click.option(
    "--grouping",
    default=DIRECT,
    metavar="|".join(GROUPINGS),
    help="direct: what is dropped is a copy of its keeper itself; components: of something that is a copy of it, "
    f"over any number of steps.  [{DIRECT}]",
)
@click.option(
    "--threshold",
    type=float,
    metavar="NUMBER",
    help=f"Pictures with a cosine above it are copies; 1: byte-identical ones only.  [{STRICT}]",
)
@click.option(
    "--save-path",
    metavar="FILE",
    help="CSV, or JSON where it ends in .json; - for standard output.  [WORK_DIR/plan.csv]",
)
@click.option("--overwrite", is_flag=True, help="Replace a file that is there, such as a plan that somebody edited.")
@add_s3_options
def plan(work_dir: str, **options) -> None:
    """Suggests which copies to drop, for a finished run.

    Writes a plan that you can edit: a row for each picture that has a copy, with keep or drop, and why. Nothing else is
    touched.
    """
    made = make_plan(work_dir, **options)
    print_lines(made.text(), sys.stderr if made.is_stdout else sys.stdout)


_quarantine = f"The folder that is moved to.  [{layout.QUARANTINE}, in the current folder]"


@click.command("apply")
@click.argument("plan", metavar="PLAN")
@click.option("--quarantine", default=layout.QUARANTINE, metavar="FOLDER", help=_quarantine)
@click.option("--execute", is_flag=True, help="Do it. Not given: look at every file, and say what would be done.")
@click.option(
    "--link",
    type=click.Choice(LINK_KINDS),
    help="Move nothing: build a data set of what is kept in --to, of links or copies.",
)
@click.option("--to", metavar="FOLDER", help="With --link: the folder to build it in.")
@click.option("--work-dir", metavar="WORK_DIR", help="The run that PLAN was made from.  [the folder of PLAN]")
@click.option("--any-plan", is_flag=True, help="Take a plan of another run, or of none.")
@add_s3_options
def apply(plan: str, quarantine: str, execute: bool, link: Link | None, to: str | None, **origin) -> None:
    """Moves what a plan drops to a quarantine folder. Nothing is ever deleted; undo puts all back.

    \b
    A plan that another run made is refused. Before each move the picture and its keeper
    are compared with what the run saw.
    What has changed, or cannot be moved, stays where it is, and the exit code is 5.
    It can be interrupted at any moment and called again.
    """
    if (link is None) != (to is None):
        raise ConfigError("--link and --to belong together: give both, or neither.")
    if link is None:
        done = apply_plan(plan, quarantine, execute, print_lines, **origin)
    else:
        done = build_dataset(plan, to, link, execute=execute, tell=print_lines, **origin)
    print_lines(done.text())
    done.check()


@click.command("undo")
@click.argument("quarantine", default=layout.QUARANTINE, metavar="[FOLDER]")
@click.option("--only", metavar="GLOB", help="Put back only what matches, such as *.png or holiday/**.")
@add_s3_options
def undo(quarantine: str, only: str | None, **access: bool) -> None:
    """Puts back what apply moved to a quarantine folder, by its journal.

    It writes over nothing: where another file is at a picture's place by now, the picture stays in the quarantine, and
    the exit code is 5. It can be interrupted at any moment and called again.
    """
    undone = undo_moves(quarantine, only, print_lines, **access)
    print_lines(undone.text())
    undone.check()


@click.command("serve")
@click.argument("work_dir", metavar="WORK_DIR")
@click.option("--host", default="127.0.0.1", metavar="ADDRESS", help="An address of this machine.  [127.0.0.1]")
@click.option("--port", default=0, metavar="INTEGER", type=click.IntRange(0, 65535), help="[a free one]")
@add_s3_options
def serve(work_dir: str, host: str, port: int, **access: bool) -> None:
    """Serves the report of a finished run to a browser on this machine, with whole pictures.

    Decisions made there are saved in WORK_DIR/plan.csv.
    """
    serve_report(work_dir, host, port, **access)


COMMANDS = (plan, apply, undo, serve)
