"""The command `gallery`."""

from typing import Any

import click

from fastdup_ray.cli.command import Command
from fastdup_ray.cli.completion import complete_folder
from fastdup_ray.cli.s3_options import add_s3_options
from fastdup_ray.common.events import print_lines
from fastdup_ray.config import RunConfig

MAP_METHODS = ("pca", "umap")

EXAMPLES = """
fastdup-ray gallery out --num-images 50
fastdup-ray gallery out --map pca
"""


@click.command("gallery", cls=Command, examples=EXAMPLES)
@click.argument("work_dir", metavar="WORK_DIR", shell_complete=complete_folder)
@click.option(
    "-o", "--save-path", metavar="FOLDER", help="Where to write the pages.  [WORK_DIR]", shell_complete=complete_folder
)
@click.option("--overwrite", is_flag=True, help="Replace pages in FOLDER that fastdup-ray did not write.")
@click.option(
    "--num-images", type=click.IntRange(1), default=20, metavar="N", help="Pairs or groups per gallery.  [20]"
)
@click.option(
    "--map",
    type=click.Choice(MAP_METHODS),
    help="Also write map.html, with similar images near each other, and link to it in the report. umap: extra map.",
)
@click.option(
    "--thumbnails/--no-thumbnails",
    default=None,
    help=f"{RunConfig.model_fields['thumbnails'].description} Not given: as in the run.",
)
@add_s3_options
def gallery(work_dir: str, **options: Any) -> None:
    """Rebuild the report and galleries of a finished run."""
    from fastdup_ray.report.regenerate import make_pages  # imports what only this command needs

    for path in make_pages(work_dir, **options):
        print_lines(path)
