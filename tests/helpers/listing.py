"""Folders of files, and what a listing makes of them."""

import os
from pathlib import Path

from fastdup_ray import RunConfig
from fastdup_ray.inputs import list_images
from tests.helpers.runs import deadline


def make(folder: Path, *names: str) -> None:
    """Files whose content differs by name."""
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(os.fsencode(name))


def listed(location, **parameters) -> list[str]:
    """The uris of the list that this input gives."""
    with deadline(20):
        return [ref.uri for ref in list_images(RunConfig.of(input_dir=location, **parameters))]


def below(folder: Path, **parameters) -> list[str]:
    """The same for a folder, as paths relative to it."""
    return [os.path.relpath(uri, folder) for uri in listed(folder, **parameters)]
