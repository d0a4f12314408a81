"""From what the user named to a list of `ImageRef`, and from one of these to its bytes.

A new source is one file here with a lister and a reader, and one line in `_lister` or `reader_of`.
"""

import os
from collections.abc import Callable, Iterable, Iterator
from itertools import islice

from fastdup_ray.config import RunConfig
from fastdup_ray.errors import InputError
from fastdup_ray.inputs import folder, listfile, local
from fastdup_ray.records import ImageRef

Reader = Callable[[ImageRef], bytes]
"""The bytes of one entry; raises `BadImageError` with the reason why it cannot be read."""


def list_images(config: RunConfig) -> Iterator[ImageRef]:
    """The entries of the list, in order, each once."""
    refs = _without_repeats(ref for location in config.inputs for ref in _listed(location, config.work_dir))
    return islice(refs, config.num_images) if config.num_images > 0 else refs


def check_inputs(config: RunConfig) -> None:
    """`InputError` where an input does not exist: told before any work."""
    for location in config.inputs:
        if not os.path.exists(location):
            raise InputError(f"Input {location!r} does not exist; name a folder, a picture or a list file.")


def reader_of(ref: ImageRef) -> Reader:
    """Who reads an entry, by its scheme."""
    return local.read


def _listed(location: str, work_dir: str) -> Iterator[ImageRef]:
    if os.path.isdir(location):
        return folder.walk(location, leave_out=work_dir)
    if listfile.is_list(location):
        return listfile.read(location)
    return iter([local.stat(os.path.abspath(location))])


def _without_repeats(refs: Iterable[ImageRef]) -> Iterator[ImageRef]:
    seen: set[str] = set()
    for ref in refs:
        if ref.uri not in seen:
            seen.add(ref.uri)
            yield ref
