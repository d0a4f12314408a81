"""The command `doctor`."""

import json
import sys

import click

from fastdup_ray.cli.command import Command
from fastdup_ray.cli.completion import complete_folder

EXAMPLES = """
fastdup-ray doctor
fastdup-ray doctor --gpu --s3 s3://bucket/photos
"""


@click.command("doctor", cls=Command, examples=EXAMPLES)
@click.option("--gpu", is_flag=True, help="Require a GPU.")
@click.option("--s3", "uri", metavar="s3://BUCKET/PREFIX", help="Also check that this can be listed.")
@click.option(
    "--work-dir",
    metavar="TEXT",
    default=".",
    help="Check the free space of this folder.  [the current folder]",
    shell_complete=complete_folder,
)
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
def doctor(*, gpu: bool, uri: str | None, work_dir: str, as_json: bool) -> None:
    """Check that this machine can run fastdup-ray.

    Prints a line for each check: ok, note (a run works without it) or broken (a run needs it), and the commands that
    mend what is broken. Exit code 1 if something is broken.
    """
    from fastdup_ray.doctor.checks import examine  # imports what only this command needs

    diagnosis = examine(gpu=gpu, uri=uri, work_dir=work_dir)
    print(json.dumps(diagnosis.as_dict(), indent=1) if as_json else diagnosis.text())
    sys.exit(0 if diagnosis.ok else 1)
