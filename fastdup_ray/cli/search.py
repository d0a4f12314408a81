"""The command `search`."""

import json

import click

from fastdup_ray.cli.command import Command
from fastdup_ray.cli.completion import complete_folder, complete_path
from fastdup_ray.cli.s3_options import add_s3_options
from fastdup_ray.common.events import print_lines
from fastdup_ray.errors import ConfigError

EXAMPLES = """
fastdup-ray search out image.jpg -k 5
fastdup-ray search out image.jpg --verify --json
fastdup-ray search out --text "a red car"
"""


@click.command("search", cls=Command, examples=EXAMPLES)
@click.argument("work_dir", metavar="WORK_DIR", shell_complete=complete_folder)
@click.argument("image", metavar="[IMAGE]", required=False, shell_complete=complete_path)
@click.option("--text", metavar="TEXT", help="Find images by what TEXT says, with a model such as CLIP.")
@click.option("-k", "k", type=click.IntRange(min=1), default=10, metavar="N", help="Images to show.  [10]")
@click.option("--verify", is_flag=True, help="Also compare each of them with IMAGE in full detail.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON array.")
@add_s3_options
def search(
    work_dir: str, image: str | None, *, text: str | None, k: int, verify: bool, as_json: bool, **access: bool
) -> None:
    """Find the images of a finished run that are most similar to IMAGE, or to a text.

    Prints the similarity and the name of each, the most similar first; with --verify also how the two are related. The
    search is exact, and changes nothing in WORK_DIR.
    """
    if (image is None) == (text is None):
        raise ConfigError("Give either an IMAGE or --text.")
    if text is not None and verify:
        raise ConfigError("--text and --verify exclude each other: only images can be compared in full detail.")
    from fastdup_ray.common.access import make_access
    from fastdup_ray.result import RunResult  # imports what only this command needs

    s3 = make_access(anonymous=access["s3_anonymous"], requester_pays=access["s3_requester_pays"])
    run = RunResult.open(work_dir, access=s3)
    if text is not None:
        found = run.search_text(text, k)
    else:
        assert image is not None
        found = run.search(image, k, verify=verify)
    rows = found.to_pylist()
    if as_json:
        print_lines(json.dumps(rows, indent=1))
        return
    for row in rows:
        relation = f"{row['relation'] or 'unreadable':<10}  " if verify else ""
        print_lines(f"{row['similarity']:.4f}  {relation}{row['filename']}")
