"""What is said of inputs without images, and of a list of which no file exists."""

import os
from collections.abc import Sequence
from contextlib import suppress

from fastdup_ray.common.access import Access
from fastdup_ray.common.locations import is_remote
from fastdup_ray.common.records import ImageRef
from fastdup_ray.errors import BadImageError
from fastdup_ray.inputs.skipped import SkippedFiles, describe_skipped
from fastdup_ray.inputs.sources import open_entry


def describe_empty(inputs: Sequence[str], shown: str, skipped: SkippedFiles, kinds: str) -> str:
    """Return a line that says that the inputs have no images, and why.

    Args:
        inputs: Paths or URIs.
        shown: How they are called in the message.
        skipped: The files that were left out because of their suffix.
        kinds: What can be an input.
    """
    if all(_is_empty_folder(location) for location in inputs):
        return f"No images in {shown}: {'the folder is' if len(inputs) == 1 else 'the folders are'} empty."
    left_out = describe_skipped(skipped.counts())
    return f"No images in {shown}" + (f": {left_out}." if left_out else f"; name {kinds}.")


def _is_empty_folder(location: str) -> bool:
    with suppress(OSError):
        return not is_remote(location) and not os.listdir(os.path.expanduser(location))
    return False


def describe_missing(first: ImageRef, count: int, inputs: Sequence[str], shown: str, access: Access) -> str:
    """Return a line that says that no file of a list can be read, and where its relative paths would be right.

    Args:
        first: The first entry.
        count: Number of entries.
        inputs: The inputs that have them.
        shown: How the inputs are called in the message.
        access: How buckets are accessed.
    """
    what = f"None of the {count:,} files in {shown} can be read, such as"
    if count == 1:
        what = f"The only file in {shown} cannot be read:"
    line = f"{what} {first.uri!r} ({_explain(first, access)})"
    if is_remote(first.uri):
        return f"{line}."
    line += "; relative paths in a list start at the current folder"
    relative = os.path.relpath(first.uri)
    folders = [os.path.dirname(os.path.abspath(location)) for location in inputs if not is_remote(location)]
    right = next((folder for folder in folders if os.path.exists(os.path.join(folder, relative))), None)
    return f"{line}: run the command in {right!r}." if right else f"{line}."


def _explain(ref: ImageRef, access: Access) -> str:
    try:
        with open_entry(ref, access):
            return "it has just appeared"
    except BadImageError as error:
        return error.message
