"""The command `split`."""

import sys
from typing import Any

import click

from fastdup_ray.cli.command import Command
from fastdup_ray.cli.completion import complete_folder, complete_path
from fastdup_ray.cli.s3_options import add_s3_options
from fastdup_ray.common.events import print_lines

PARTS = "train=0.8,val=0.1,test=0.1"

EXAMPLES = """
fastdup-ray split out
fastdup-ray split out --parts train=0.9,test=0.1 --seed 7 -o split.csv
"""


@click.command("split", cls=Command, examples=EXAMPLES)
@click.argument("work_dir", metavar="WORK_DIR", shell_complete=complete_folder)
@click.option("--parts", default=PARTS, metavar="NAME=SHARE,…", help=f"The parts; their shares add up to 1.  [{PARTS}]")
@click.option("--seed", type=int, default=0, metavar="N", help="Another number gives another split.  [0]")
@click.option(
    "-o",
    "--save-path",
    metavar="FILE",
    help="The file to write; - for standard output.  [split.csv in WORK_DIR]",
    shell_complete=complete_path,
)
@click.option("--overwrite", is_flag=True, help="Replace FILE if it exists.")
@add_s3_options
def split(work_dir: str, **options: Any) -> None:
    """Split the images of a finished run into training, validation and test, with no duplicates across.

    Writes a CSV with the columns filename and split. If the run has labels, each label has its share in each part.
    """
    from fastdup_ray.export.split import split_dataset  # imports what only this command needs

    result = split_dataset(work_dir, **options)
    print_lines(result.text(), sys.stderr if result.is_stdout else sys.stdout)
