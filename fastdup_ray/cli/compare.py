"""The command `compare`."""

import json

import click

from fastdup_ray.cli.command import Command
from fastdup_ray.cli.completion import complete_path
from fastdup_ray.cli.s3_options import add_s3_options
from fastdup_ray.common.events import print_lines

EXAMPLES = """
fastdup-ray compare invoice.png scanned.jpg
fastdup-ray compare a.jpg b.jpg --json
"""


@click.command("compare", cls=Command, examples=EXAMPLES)
@click.argument("first", metavar="FIRST", shell_complete=complete_path)
@click.argument("second", metavar="SECOND", shell_complete=complete_path)
@click.option("--json", "as_json", is_flag=True, help="Print the evidence as JSON.")
@add_s3_options
def compare(first: str, second: str, *, as_json: bool, **access: bool) -> None:
    """Say what two images are to each other, in full detail.

    same, cropped, padded, embedded, turned, mirrored, altered, different or unsure: with the part of each that the
    other one shows, and where most of it differs.
    """
    from fastdup_ray.verify.compare import compare as compare_images  # imports what only this command needs

    result = compare_images(first, second, **access)
    print_lines(json.dumps(result.as_dict(), indent=1) if as_json else result.text())
