"""Pillow's process-wide settings, while images are decoded."""

import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar

from PIL import Image, ImageFile, PngImagePlugin

from fastdup_ray.extract.size_limits import check_pixel_count


@contextmanager
def strict_pillow(max_pixels: int | None = None) -> Iterator[None]:
    """Have Pillow refuse truncated files and images with too many pixels, without warnings of broken files.

    Pillow has no setting for a single call, so this sets its process-wide limits (and the filters of `warnings`) while
    at least one thread is inside, and restores them when the last one leaves. Several threads may be inside at once,
    each with its own `max_pixels`. Threads that are started inside have the limit of their creator if they run in a
    copy of its context, else the largest of the limits at that moment.

    The limit also applies to images inside images (ICO, ICNS, the frames of a GIF), whose headers Pillow reads no
    earlier than it decodes them. Text and color profiles in a PNG may be as large as Pillow allows for all of them
    together, instead of 1 MB each.

    Args:
        max_pixels: The largest number of pixels of an image; None for no limit.

    Raises:
        BadImageError: Inside, from `Image.open` and `load`: the image has more pixels.
    """
    _settings.hold(max_pixels)
    before = _max_pixels.set(max_pixels)
    try:
        yield
    finally:
        _max_pixels.reset(before)
        _settings.release(max_pixels)


_max_pixels: ContextVar[int | None] = ContextVar("max_pixels")


class _PillowSettings:
    """The global settings: the first holder sets them, the last one restores them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._limits: Sequence[int | None] = ()  # replaced, never changed: `_check` reads it without the lock
        self._restore = ExitStack()

    def hold(self, max_pixels: int | None) -> None:
        with self._lock:
            if not self._limits:
                self._set()
            self._limits = (*self._limits, max_pixels)

    def release(self, max_pixels: int | None) -> None:
        with self._lock:
            left = list(self._limits)
            left.remove(max_pixels)
            self._limits = left
            if not left:
                self._restore.close()

    def _set(self) -> None:
        settings = [
            (Image, "MAX_IMAGE_PIXELS", None),
            (Image, "_decompression_bomb_check", self._check),  # Pillow's own error does not have the size
            (ImageFile, "LOAD_TRUNCATED_IMAGES", False),
            (PngImagePlugin, "MAX_TEXT_CHUNK", PngImagePlugin.MAX_TEXT_MEMORY),
        ]
        self._restore.enter_context(warnings.catch_warnings())
        warnings.filterwarnings("ignore", module=r"PIL\.")
        for module, name, value in settings:
            self._restore.callback(setattr, module, name, getattr(module, name))
            setattr(module, name, value)

    def _check(self, size: tuple[int, int], *_: object, **__: object) -> None:
        limit = _max_pixels.get(_find_largest(self._limits))
        if limit is not None:
            check_pixel_count(size, limit)


def _find_largest(limits: Sequence[int | None]) -> int | None:
    """Return the largest limit; None, for no limit, if one of them is None or there are none."""
    numbers = [limit for limit in limits if limit is not None]
    return max(numbers) if numbers and len(numbers) == len(limits) else None


_settings = _PillowSettings()
