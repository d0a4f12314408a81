"""What the shell offers when a word is completed with Tab: paths, folders, and choices."""

from collections.abc import Callable, Iterable

import click
from click.shell_completion import CompletionItem

Completer = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]


def complete_path(_context: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Let the shell offer files and folders."""
    return [CompletionItem(incomplete, type="file")]


def complete_folder(_context: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Let the shell offer folders."""
    return [CompletionItem(incomplete, type="dir")]


def complete_choice(choices: Iterable[str]) -> Completer:
    """Return a function that offers the choices that begin with what was typed.

    In a list separated by commas, the last item is completed.
    """
    choices = tuple(choices)

    def complete(_context: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        before, comma, last = incomplete.rpartition(",")
        return [CompletionItem(before + comma + choice) for choice in choices if choice.startswith(last)]

    return complete
