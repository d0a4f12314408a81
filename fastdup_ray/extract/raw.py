"""Raw files of cameras, if rawpy is installed.

The preview in a file is the camera's own JPEG, so that it is near the JPEG that was stored with it. What LibRaw makes
of the sensor's samples has other colors and tones: of a photo of a concert its similarity to the preview is 0.78.
"""

import io
from collections.abc import Callable
from functools import cache
from importlib import metadata
from typing import Any

from PIL import ExifTags, Image

from fastdup_ray.errors import BadImageError, ErrorCode
from fastdup_ray.extract.raw_structure import is_raw_truncated

FORMAT = "RAW"

LEAST_PREVIEW = 1024
"""Longer side, in pixels, from which on a preview is used; older cameras have smaller ones."""

LARGE = 2048
"""Shorter side of an image that is developed at half of its size, as one pixel of four samples."""

_ORIENTATIONS = {3: 3, 5: 8, 6: 6}
"""LibRaw's `flip` -> EXIF orientation."""

_NEVER_SET = 1980
"""Year up to which a date is that of a clock that was never set."""


@cache
def describe_rawpy() -> str | None:
    """Return the version of rawpy, which contains LibRaw; None if it is not installed."""
    try:
        return f"rawpy {metadata.version('rawpy')}"
    except metadata.PackageNotFoundError:
        return None


def open_raw(data: bytes, check: Callable[[tuple[int, int]], None]) -> Image.Image:
    """Open the raw file of a camera. The image has the size of the sensor until it is loaded, then that of the preview.

    Its EXIF tags have the orientation and the date; its format is `FORMAT`.

    Args:
        data: The bytes of the file.
        check: Called with (width, height) before anything is decoded; raises to refuse it.

    Raises:
        BadImageError: rawpy is not installed, or the file is truncated, damaged or of an unknown camera.
        Exception: Whatever `check` raises.
    """
    try:
        import rawpy
    except ImportError:
        message = "a raw file of a camera: to read it, pip install 'fastdup-ray[raw]'"
        raise BadImageError(ErrorCode.UNSUPPORTED, message) from None
    if is_raw_truncated(data):  # LibRaw shows what is missing as black
        raise BadImageError(ErrorCode.TRUNCATED, "the file is shorter than its directories say")
    try:
        with rawpy.RawPy() as raw:
            raw.open_buffer(io.BytesIO(data))
            size = raw.sizes.width, raw.sizes.height
            check(size)
            preview = _read_preview(raw)
            exif = _make_exif(raw, size if preview is None else preview.size)
    except rawpy.LibRawError as error:
        raise _explain(error) from None
    return _RawImage(size, preview, lambda: _develop(data), exif)


class _RawImage(Image.Image):
    """A raw file, of which the preview is decoded, or the samples are developed, when the image is loaded."""

    format = FORMAT

    def __init__(
        self, size: tuple[int, int], preview: Image.Image | None, develop: Callable[[], Image.Image], exif: Image.Exif
    ) -> None:
        super().__init__()
        self._size, self._mode = size, "RGB"
        self._preview, self._develop = preview, develop
        self._is_loaded = False
        self.info["exif"] = exif.tobytes()

    def draft(self, mode: str | None, size: tuple[int, int] | None) -> None:
        """Have the preview decoded at a smaller size, as `Image.draft` does."""
        if self._preview is not None and not self._is_loaded:
            self._preview.draft(mode, size)

    def load(self) -> Any:
        """Decode the image."""
        if not self._is_loaded:
            color = (self._develop() if self._preview is None else self._preview).convert("RGB")
            self._is_loaded, self._size, self.im = True, color.size, color.im
        return super().load()


def _read_preview(raw: Any) -> Image.Image | None:
    """Return the largest preview, not loaded yet; None if it is small, or there is none."""
    import rawpy

    try:
        preview = raw.extract_thumb()
    except (rawpy.LibRawNoThumbnailError, rawpy.LibRawUnsupportedThumbnailError):
        return None
    if preview.format == rawpy.ThumbFormat.JPEG:
        image: Image.Image = Image.open(io.BytesIO(preview.data), formats=("JPEG",))
    else:
        image = Image.fromarray(preview.data)
    return image if max(image.size) >= LEAST_PREVIEW else None


def _develop(data: bytes) -> Image.Image:
    """Return the image that LibRaw makes of the samples, with the camera's white balance, as it lies on the sensor."""
    import rawpy

    try:
        with rawpy.RawPy() as raw:
            raw.open_buffer(io.BytesIO(data))
            raw.unpack()
            is_large = min(raw.sizes.width, raw.sizes.height) >= LARGE
            return Image.fromarray(raw.postprocess(use_camera_wb=True, half_size=is_large, user_flip=0))
    except rawpy.LibRawError as error:
        raise _explain(error) from None


def _make_exif(raw: Any, shown: tuple[int, int]) -> Image.Exif:
    """Return the orientation of the image `shown`, and the date."""
    exif = Image.Exif()
    is_upright = (shown[0] > shown[1]) != (raw.sizes.width > raw.sizes.height)
    if raw.sizes.flip in _ORIENTATIONS and not is_upright:
        exif[ExifTags.Base.Orientation] = _ORIENTATIONS[raw.sizes.flip]
    if (taken := raw.other.timestamp).year > _NEVER_SET:
        exif[ExifTags.Base.DateTime] = f"{taken:%Y:%m:%d %H:%M:%S}"
    return exif


def _explain(error: Exception) -> BadImageError:
    import rawpy

    codes: dict[type[Exception], ErrorCode] = {
        rawpy.LibRawFileUnsupportedError: ErrorCode.UNSUPPORTED,
        rawpy.LibRawNotImplementedError: ErrorCode.UNSUPPORTED,
        rawpy.LibRawIOError: ErrorCode.TRUNCATED,
        rawpy.LibRawTooBigError: ErrorCode.TOO_LARGE,
        rawpy.LibRawUnsufficientMemoryError: ErrorCode.OUT_OF_MEMORY,
    }
    text = error.args[0] if error.args else ""
    reason = text.decode("utf-8", "replace") if isinstance(text, bytes) else str(text)
    return BadImageError(codes.get(type(error), ErrorCode.CORRUPT), f"LibRaw: {reason}")
