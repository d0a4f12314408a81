"""The command `doctor`."""

import json
import sys

import click

from fastdup_ray.doctor import examine


@click.command("doctor")
@click.option("--gpu", is_flag=True, help="A GPU is needed: without one, something is broken.")
@click.option("--s3", "place", metavar="s3://BUCKET/PREFIX", help="Also look whether this can be listed.")
@click.option("--work-dir", metavar="TEXT", default=".", help="Where outputs are to go: is there room?  [.]")
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
def doctor(gpu: bool, place: str | None, work_dir: str, as_json: bool) -> None:
    """Tells whether a run could work here: versions, libraries, model, GPU, memory, disk, Ray, S3.

    A line each: ok, note (a run does without it) or broken. Exit code 1: something that a run needs is broken.
    """
    diagnosis = examine(gpu=gpu, place=place, work_dir=work_dir)
    print(json.dumps(diagnosis.as_dict(), indent=1) if as_json else diagnosis.text())
    sys.exit(0 if diagnosis.ok else 1)
