"""The command `plan`."""

import click

from fastdup_ray.actions.groups import DIRECT, GROUPINGS
from fastdup_ray.actions.keepers import DEFAULT_RULES
from fastdup_ray.actions.planning import make_plan
from fastdup_ray.actions.suggestion import STRICT


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
@click.option("--save-path", metavar="FILE", help="CSV, or JSON where it ends in .json.  [WORK_DIR/plan.csv]")
@click.option("--overwrite", is_flag=True, help="Replace a plan that is there, whoever edited it.")
def plan(work_dir: str, **options) -> None:
    """Suggests which copies to drop, for a finished run.

    Writes a plan that you can edit: a row for each picture that has a copy, with keep or drop, and why. Nothing else is
    touched.
    """
    print(make_plan(work_dir, **options).text())


COMMANDS = (plan,)
