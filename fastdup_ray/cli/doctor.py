"""The command `doctor`."""

import json
import sys

import click

from fastdup_ray.cli.command import Command
from fastdup_ray.cli.completion import complete_folder

EXAMPLES = """
fastdup-ray doctor
fastdup-ray doctor --gpu --input s3://bucket/photos
fastdup-ray doctor --images 100M --work-dir out
"""

_THOUSANDS = {"K": 10**3, "M": 10**6, "B": 10**9}


MOST_IMAGES = 10**12
"""Images beyond which nothing is estimated."""


def parse_count(value: str) -> int:
    """Return a number such as 250000, 10K, 100M or 1.5B."""
    text = value.upper().replace(",", "")
    factor = _THOUSANDS.get(text[-1:], 1)
    try:
        count = int(float(text[:-1] if factor > 1 else text) * factor)
    except (ValueError, OverflowError):
        count = 0
    if not 1 <= count <= MOST_IMAGES:
        raise click.BadParameter(f"{value!r} (give a number such as 250000, 10K or 100M).")
    return count


@click.command("doctor", cls=Command, examples=EXAMPLES)
@click.option("--gpu", is_flag=True, help="Require a GPU.")
@click.option(
    "--input",
    "--s3",
    "uri",
    metavar="URI",
    help="Also check that this bucket (s3://, gs://, az://) can be listed, or this https:// address read.",
)
@click.option(
    "--work-dir",
    metavar="TEXT",
    default=".",
    help="Check the free space of this folder, or that something can be written to this bucket.  [the current folder]",
    shell_complete=complete_folder,
)
@click.option("--images", type=parse_count, metavar="N", help="Check the limits for N images, such as 100M, too.")
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
def doctor(*, gpu: bool, uri: str | None, work_dir: str, images: int | None, as_json: bool) -> None:
    """Check that this machine can run fastdup-ray.

    Prints a line for each check: ok, note (a run works without it) or broken (a run needs it), and the commands that
    mend what is broken. Exit code 1 if something is broken.
    """
    from fastdup_ray.doctor.checks import examine  # imports what only this command needs

    diagnosis = examine(gpu=gpu, uri=uri, work_dir=work_dir, images=images)
    print(json.dumps(diagnosis.as_dict(), indent=1) if as_json else diagnosis.text())
    sys.exit(0 if diagnosis.ok else 1)
