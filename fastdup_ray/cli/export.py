"""The command `export`."""

import sys
from typing import Any

import click

from fastdup_ray.cli.command import Command
from fastdup_ray.cli.completion import complete_folder, complete_path
from fastdup_ray.cli.s3_options import add_s3_options
from fastdup_ray.common.events import print_lines

# click prints a paragraph that begins with a backspace as it is; a docstring would have it spelled out.
_HELP = """Export results for other tools.

\b
fiftyone   a JSON file for fiftyone.Dataset.from_json
drop-list  the files that the plan drops, one per line
keep-list  all other good images, one per line
coco       the annotations without those of images and boxes that the plan drops
yolo       the same as a zip of text files
csv        all images and boxes that are kept, with their labels
"""

EXAMPLES = """
fastdup-ray export out --format fiftyone
fastdup-ray export out --format drop-list --null -o drop.txt
fastdup-ray export out --format coco --annotations instances.json
"""

FORMATS = ("fiftyone", "drop-list", "keep-list", "coco", "yolo", "csv")


@click.command("export", cls=Command, help=_HELP, examples=EXAMPLES)
@click.argument("work_dir", metavar="WORK_DIR", shell_complete=complete_folder)
@click.option("--format", type=click.Choice(FORMATS), required=True, help="What to write.")
@click.option(
    "-o",
    "--save-path",
    metavar="FILE",
    help="The file to write; - for standard output.  [a file in WORK_DIR]",
    shell_complete=complete_path,
)
@click.option("--overwrite", is_flag=True, help="Replace FILE if it exists.")
@click.option(
    "--plan",
    metavar="FILE",
    help="The plan that says what to drop.  [plan.csv of WORK_DIR, or else what the command plan suggests]",
    shell_complete=complete_path,
)
@click.option(
    "--annotations",
    metavar="FILE",
    help="With coco and yolo: the annotations to write without what is dropped.  [those of the run]",
    shell_complete=complete_path,
)
@click.option("--any-plan", is_flag=True, help="Accept a plan of another run, or of none.")
@click.option("--null", is_flag=True, help="End each file name with NUL, for xargs -0 and names with line breaks.")
@add_s3_options
def export(work_dir: str, **options: Any) -> None:
    """Export results."""
    from fastdup_ray.export import export as write  # imports what only this command needs

    result = write(work_dir, **options)
    print_lines(result.text(), sys.stderr if result.is_stdout else sys.stdout)
