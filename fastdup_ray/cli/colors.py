"""Colors, which only a terminal gets, and only without NO_COLOR."""

import os
from typing import TextIO

import click

from fastdup_ray.system.process import is_terminal


def color_error(text: str, stream: TextIO | None) -> str:
    """Return the beginning of an error message, in bold red if `stream` shows colors."""
    return click.style(text, fg="red", bold=True) if shows_colors(stream) else text


def shows_colors(stream: TextIO | None) -> bool:
    """Return whether a stream is a terminal, and neither NO_COLOR is set nor TERM is dumb."""
    return is_terminal(stream) and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
