"""The command `plan`."""

import sys
from typing import Any

import click

from fastdup_ray.cli.command import Command
from fastdup_ray.cli.completion import complete_choice, complete_folder, complete_path
from fastdup_ray.cli.s3_options import add_s3_options
from fastdup_ray.common.events import print_lines

EXAMPLES = """
fastdup-ray plan out
fastdup-ray plan out --keep 'path:originals/*,resolution'
fastdup-ray plan out --drop same,cropped
"""

# Texts, since their modules take half a second to import; tests compare them.
KEEP = "reference,quality,resolution,bytes,oldest"
RULES = ("reference", "quality", "resolution", "bytes", "oldest", "path:GLOB")
GROUPINGS = ("direct", "components")
THRESHOLD = 0.995
DROP = "same"
DROPPABLE = ("cropped", "embedded", "mirrored", "padded", "same", "turned")


@click.command("plan", cls=Command, examples=EXAMPLES)
@click.argument("work_dir", metavar="WORK_DIR", shell_complete=complete_folder)
@click.option(
    "--keep",
    metavar="RULE,…",
    help=f"Rules that choose the image to keep of a group, the most important first: {', '.join(RULES)}. "
    f"If none decides, the first name is kept.  [{KEEP}]",
    shell_complete=complete_choice(rule.replace("GLOB", "") for rule in RULES),
)
@click.option(
    "--grouping",
    metavar="|".join(GROUPINGS),
    help="direct: each dropped image duplicates its keeper itself; components: it may do so over any number of steps "
    f"(a resembles b, b resembles c).  [{GROUPINGS[0]}]",
    shell_complete=complete_choice(GROUPINGS),
)
@click.option(
    "--threshold",
    type=float,
    metavar="NUMBER",
    help="Drop only images more similar than this to their keeper (0–1); 1: only those with the same bytes.  "
    f"[none after a run with verified pairs, else {THRESHOLD}]",
)
@click.option(
    "--drop",
    metavar="RELATION,…",
    help=f"Near duplicates to drop, by their verified relation to the keeper: {', '.join(DROPPABLE)}.  [{DROP}]",
    shell_complete=complete_choice(DROPPABLE),
)
@click.option(
    "--any-sidecars",
    is_flag=True,
    help="Drop images even if their sidecars, such as annotations, are missing beside the keeper or differ there.",
)
@click.option(
    "-o",
    "--save-path",
    metavar="FILE",
    help="Write the plan here: JSON if the name ends in .json, else CSV; - for standard output.  [WORK_DIR/plan.csv]",
    shell_complete=complete_path,
)
@click.option("--overwrite", is_flag=True, help="Replace an existing file, such as a plan that you edited.")
@add_s3_options
def plan(work_dir: str, **options: Any) -> None:
    """Suggest which duplicates of a finished run to drop.

    Writes a plan that you can edit: one row for each image that has a duplicate, with keep or drop, and the reason.
    Nothing else is changed.
    """
    from fastdup_ray.curation.make_plan import make_plan  # imports what only this command needs

    summary = make_plan(work_dir, **{name: value for name, value in options.items() if value is not None})
    print_lines(summary.text(), sys.stderr if summary.is_stdout else sys.stdout)
