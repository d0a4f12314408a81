"""The command `undo`."""

from functools import partial

import click

from fastdup_ray.cli.command import Command
from fastdup_ray.cli.completion import complete_folder
from fastdup_ray.cli.progress import show_progress
from fastdup_ray.cli.s3_options import add_s3_options
from fastdup_ray.common import layout
from fastdup_ray.common.events import print_lines

EXAMPLES = """
fastdup-ray undo
fastdup-ray undo fastdup_quarantine --only '*.png'
"""


@click.command("undo", cls=Command, examples=EXAMPLES)
@click.argument("quarantine", default=layout.QUARANTINE, metavar="[FOLDER]", shell_complete=complete_folder)
@click.option("--only", metavar="GLOB", help="Restore only matching files, such as *.png or holiday/**.")
@click.option("-v", "--verbose", is_flag=True, help="List all files, rather than five of them.")
@add_s3_options
def undo(quarantine: str, only: str | None, *, verbose: bool, **access: bool) -> None:
    """Restore the files that apply moved to a quarantine folder.

    Nothing is overwritten: if another file is in the place of an image by now, the image stays in the quarantine, and
    the exit code is 5. If the command is interrupted, run it again to resume.
    """
    from fastdup_ray.curation.apply import ignore_line  # imports what only this command needs
    from fastdup_ray.curation.undo import undo as undo_moves

    result = undo_moves(quarantine, only, ignore_line, track=partial(show_progress, title="Restoring"), **access)
    print_lines(result.text(verbose=verbose))
    result.check()
