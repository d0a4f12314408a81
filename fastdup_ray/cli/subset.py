"""The command `subset`."""

import sys
from typing import Any

import click

from fastdup_ray.cli.command import Command
from fastdup_ray.cli.completion import complete_folder, complete_path
from fastdup_ray.cli.s3_options import add_s3_options
from fastdup_ray.common.events import print_lines

EXAMPLES = """
fastdup-ray subset out -k 1000
fastdup-ray subset out -k 1000 -o few.txt
"""


@click.command("subset", cls=Command, examples=EXAMPLES)
@click.argument("work_dir", metavar="WORK_DIR", shell_complete=complete_folder)
@click.option("-k", "k", type=click.IntRange(min=1), required=True, metavar="N", help="Number of images.")
@click.option(
    "-o",
    "--save-path",
    metavar="FILE",
    help="The file to write; - for standard output.  [subset.txt in WORK_DIR]",
    shell_complete=complete_path,
)
@click.option("--overwrite", is_flag=True, help="Replace FILE if it exists.")
@click.option("--null", is_flag=True, help="End each file name with NUL, for xargs -0 and names with line breaks.")
@add_s3_options
def subset(work_dir: str, **options: Any) -> None:
    """List the N most diverse images of a finished run, the most typical one first.

    So every other image is similar to one of them. Time grows with N times the number of images.
    """
    from fastdup_ray.export.subset import select_subset  # imports what only this command needs

    result = select_subset(work_dir, **options)
    print_lines(result.text(), sys.stderr if result.is_stdout else sys.stdout)
