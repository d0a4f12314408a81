"""The sizes of photos, which their boxes do not tell."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

from fastdup_ray.common.access import Access
from fastdup_ray.common.events import log
from fastdup_ray.config import RunConfig
from fastdup_ray.extract.decode import get_upright_size
from fastdup_ray.extract.open_image import open_image
from fastdup_ray.extract.pillow_settings import strict_pillow
from fastdup_ray.inputs import read_entry, stat

MAX_PIXELS: int = RunConfig.model_fields["max_pixels"].default
"""Pixels of the largest photo whose size is read."""

_THREADS, _AT_ONCE = 16, 256
"""Threads that read the sizes of photos, and how many photos are waited for at a time."""

Photo = TypeVar("Photo")


def measure(
    photos: Iterable[Photo], get_uri: Callable[[Photo], str], access: Access
) -> Iterator[tuple[Photo, tuple[int, int]]]:
    """Yield photos, and their upright width and height; those that cannot be read are counted and left out.

    Args:
        photos: The photos.
        get_uri: Returns the path or URI of one.
        access: How buckets are accessed.
    """
    rest, unreadable = iter(photos), 0
    with strict_pillow(MAX_PIXELS), ThreadPoolExecutor(_THREADS) as pool:
        while batch := list(islice(rest, _AT_ONCE)):
            sizes = pool.map(lambda photo: _read_size(get_uri(photo), access), batch)
            for photo, size in zip(batch, sizes, strict=True):
                if size is None:
                    unreadable += 1
                else:
                    yield photo, size
    if unreadable:
        log.warning("%s photos cannot be read, and are left out.", f"{unreadable:,}")


def _read_size(uri: str, access: Access) -> tuple[int, int] | None:
    try:
        with open_image(read_entry(stat(uri, access), access)) as image:
            return get_upright_size(image)
    except Exception:  # plugins raise anything at all on broken files
        return None
