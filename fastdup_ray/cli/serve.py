"""The command `serve`."""

import os
import sys
from collections.abc import Mapping

import click

from fastdup_ray.cli.command import Command
from fastdup_ray.cli.completion import complete_folder
from fastdup_ray.cli.s3_options import add_s3_options
from fastdup_ray.system.process import is_terminal

EXAMPLES = """
fastdup-ray serve out
fastdup-ray serve out --port 8000 --no-open
"""


@click.command("serve", cls=Command, examples=EXAMPLES)
@click.argument("work_dir", metavar="WORK_DIR", shell_complete=complete_folder)
@click.option("--host", default="127.0.0.1", metavar="ADDRESS", help="The IP address to listen on.  [127.0.0.1]")
@click.option(
    "--port", default=0, metavar="INTEGER", type=click.IntRange(0, 65535), help="The port to listen on.  [a free one]"
)
@click.option(
    "--open/--no-open",
    "open_page",
    default=None,
    help="Open the page in a browser.  [on a desktop, from a terminal that is not one of SSH]",
)
@add_s3_options
def serve(work_dir: str, host: str, port: int, *, open_page: bool | None, **access: bool) -> None:
    """Open the report in a browser, with full-size images.

    Prints the address of the page. Decisions made there are saved in WORK_DIR/plan.csv.
    """
    from fastdup_ray.curation.server import serve as serve_report  # imports what only this command needs

    if open_page is None:
        open_page = is_terminal(sys.stdout) and has_desktop(os.environ, sys.platform)
    serve_report(work_dir, host, port, open_page=open_page, **access)


def has_desktop(environment: Mapping[str, str], platform: str) -> bool:
    """Return whether a browser would open on the screen of whoever runs the command.

    Args:
        environment: The environment variables.
        platform: As `sys.platform`.
    """
    if any(environment.get(name) for name in ("SSH_CONNECTION", "SSH_TTY")):
        return False
    return platform == "darwin" or any(environment.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY"))
