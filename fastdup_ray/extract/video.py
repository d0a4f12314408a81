"""Decode videos: frames at regular intervals, or the frame at one time."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any, BinaryIO

from PIL import Image

from fastdup_ray.common.records import Limits
from fastdup_ray.errors import BadImageError, ErrorCode
from fastdup_ray.extract.size_limits import check_size
from fastdup_ray.extract.video_errors import describe_tracks, explain_ffmpeg_error
from fastdup_ray.inputs.video import get_frame_time

RECIPE = 1
"""Part of `describe_decoder`. Increase it with any change to this module that changes pixels."""

_FORMATS = "mov,matroska,avi,asf,flv,mpegts,mpeg,mpegvideo,ogg,mxf"
"""The only formats that FFmpeg may open: no playlists or others that name further files or servers."""

_WITH_LENGTH = ("mov", "matroska", "asf", "flv")
"""Formats whose header has the duration; for the others FFmpeg estimates it."""

_MISSING_SECONDS, _MISSING_PART = 1.0, 0.01
"""How much shorter than its header says a video may be: sound and images rarely end together."""

_ROTATIONS = (Image.Transpose.ROTATE_90, Image.Transpose.ROTATE_180, Image.Transpose.ROTATE_270)
"""The transposes for 1, 2 and 3 quarter turns."""


@cache
def describe_decoder() -> str | None:
    """Return the versions of all code that the pixels of frames depend on; None if PyAV is not installed."""
    try:
        import av
    except ImportError:
        return None
    av.logging.set_level(av.logging.PANIC)  # a broken video would fill stderr
    versions = ", ".join(
        f"{name} {'.'.join(map(str, av.library_versions[name]))}" for name in ("libavcodec", "libswscale")
    )
    return f"recipe {RECIPE}, av {av.__version__}, {versions}"


def read_frames(file: BinaryIO, limits: Limits) -> Iterator[tuple[str, Image.Image]]:
    """Decode the frames that are shown at the times 0, 1/fps, 2/fps, … of a video.

    Args:
        file: The video.
        limits: Frames per second, and what is too large or too long.

    Yields:
        The name of the codec and the upright frame. A frame that is shown at several of these times is yielded as
        often, as the same object.

    Raises:
        BadImageError: The video cannot be decoded to its end, or has more than `limits.max_frames` frames.
    """
    with _open_video(file, limits) as reader:
        if reader.seconds * limits.video_fps > limits.max_frames:
            raise _make_too_long_error(limits)
        index, shown, end = 0, None, 0.0
        for begin, stop, frame in reader.frames():
            while shown is not None and get_frame_time(index, limits.video_fps) + 0.5 < begin:
                if index == limits.max_frames:
                    raise _make_too_long_error(limits)
                yield reader.codec, shown.image()
                index += 1
            shown, end = _LazyFrame(frame), max(stop, begin + 1)
        while shown is not None and get_frame_time(index, limits.video_fps) + 0.5 < end:
            if index == limits.max_frames:
                raise _make_too_long_error(limits)
            yield reader.codec, shown.image()
            index += 1
        reader.check_end()


def read_frame(file: BinaryIO, milliseconds: int, limits: Limits) -> tuple[str, Image.Image]:
    """Decode the frame that is shown at one time of a video; it is the one that `read_frames` yields for this time.

    Args:
        file: The video.
        milliseconds: The time, from the beginning of the video.
        limits: What is too large.

    Returns:
        The name of the codec and the upright frame.

    Raises:
        BadImageError: The frame cannot be decoded, or the video ends earlier.
    """
    with _open_video(file, limits) as reader:
        for seek in (True, False):  # from the beginning if nothing can be decoded after seeking
            if seek:
                reader.seek(milliseconds)
            else:
                reader.rewind()
            shown, end = None, 0.0
            for begin, stop, frame in reader.frames():
                if begin > milliseconds + 0.5 and (shown is not None or seek):
                    break
                shown, end = frame, max(stop, begin + 1)
                if begin > milliseconds + 0.5:
                    break
            if shown is not None:
                if milliseconds + 0.5 >= end:
                    raise BadImageError(ErrorCode.MISSING, f"the video ends at {end / 1000:.3f} seconds")
                return reader.codec, _LazyFrame(shown).image()
    raise BadImageError(ErrorCode.CORRUPT, "no frame of it can be decoded")


def _make_too_long_error(limits: Limits) -> BadImageError:
    reason = f"more than max_frames={limits.max_frames} frames at video_fps={limits.video_fps:g}"
    return BadImageError(ErrorCode.TOO_LARGE, reason)


class _LazyFrame:
    """A decoded frame, which is converted to an image when first asked for, and only once."""

    def __init__(self, frame: Any) -> None:
        self._frame = frame
        self._image: Image.Image | None = None

    def image(self) -> Image.Image:
        if self._image is None:
            image: Image.Image = self._frame.to_image()
            quarter_turns = round(self._frame.rotation / 90) % 4
            self._image = image.transpose(_ROTATIONS[quarter_turns - 1]) if quarter_turns else image
        return self._image


class _VideoReader:
    """An open video.

    Attributes:
        codec: Name of its codec.
        seconds: Duration in its header; 0 if there is none.
    """

    def __init__(self, container: Any, stream: Any, limits: Limits) -> None:
        self._container, self._stream, self._limits = container, stream, limits
        self.codec: str = stream.codec_context.codec.canonical_name.upper()
        with_length = container.format.name.split(",")[0] in _WITH_LENGTH
        self.seconds = (container.duration or 0) / 1e6 if with_length else 0.0
        self._end = 0.0

    def frames(self) -> Iterator[tuple[float, float, Any]]:
        """Yield begin and end in milliseconds and the frame, in the order in which the frames are shown."""
        from av.error import InvalidDataError

        good, empty, begin, stop = False, True, 0.0, 0.0
        packets = self._container.demux()
        for packet in packets:
            if packet.pts is not None:
                end = (packet.pts + (packet.duration or 0)) * packet.time_base
                self._end = max(self._end, float(end) - (self._container.start_time or 0) / 1e6)
            if packet.stream is not self._stream:
                continue
            empty &= packet.size == 0
            try:
                decoded = packet.decode()
                damaged = packet.is_corrupt
            except InvalidDataError:
                decoded, damaged = [], True
            for frame in decoded:
                damaged |= frame.is_corrupt
                if not damaged:
                    check_size((frame.width, frame.height), self._limits)
                    begin, stop = self._measure_times(frame, begin, stop)
                    yield begin, stop, frame
                    good = True
            if damaged and good:  # before the first good frame: a recording that begins in the middle of a stream
                more = any(later.pts is not None for later in packets if later.stream is self._stream)
                code = ErrorCode.CORRUPT if more else ErrorCode.TRUNCATED
                raise BadImageError(code, f"the video is damaged at {stop / 1000:.3f} seconds")
        if not good:
            reason = "the video track has no frames" if empty else "no frame of it can be decoded"
            raise BadImageError(ErrorCode.CORRUPT, reason)

    def _measure_times(self, frame: Any, begin: float, stop: float) -> tuple[float, float]:
        """Return begin and end of a frame in milliseconds, given those of the frame before."""
        unit = float(frame.time_base or self._stream.time_base) * 1000
        begin = stop if frame.pts is None else max(begin, (frame.pts - (self._stream.start_time or 0)) * unit)
        rate = self._stream.average_rate
        return begin, begin + ((frame.duration or 0) * unit or (1000 / float(rate) if rate else 0))

    def seek(self, milliseconds: int) -> None:
        """Seek to a keyframe at or before a time, or to the beginning in formats without an index."""
        from av.error import FFmpegError

        timestamp = milliseconds / 1000 / float(self._stream.time_base) + (self._stream.start_time or 0)
        try:
            self._container.seek(int(timestamp), stream=self._stream)
        except FFmpegError:
            self.rewind()

    def rewind(self) -> None:
        self._container.seek(0)

    def check_end(self) -> None:
        """Raise `BadImageError` if the video, now read to its end, is shorter than its header says."""
        missing = self.seconds - self._end
        if missing > _MISSING_SECONDS + _MISSING_PART * self.seconds:
            reason = f"the video ends after {self._end:.1f} of {self.seconds:.1f} seconds"
            raise BadImageError(ErrorCode.TRUNCATED, reason)


@contextmanager
def _open_video(file: BinaryIO, limits: Limits) -> Iterator[_VideoReader]:
    """Open a video for decoding on one thread; errors of FFmpeg become `BadImageError`."""
    if describe_decoder() is None:
        raise BadImageError(ErrorCode.UNSUPPORTED, "a video: to read it, pip install 'fastdup-ray[video]'")
    import av

    opened = False
    try:
        with av.open(file, options={"format_whitelist": _FORMATS}) as container:
            opened = True
            stream: Any = container.streams.best("video")
            if stream is None or _is_cover(stream):
                raise BadImageError(ErrorCode.NOT_AN_IMAGE, describe_tracks(container))
            stream.codec_context.thread_count = 1
            check_size((stream.width, stream.height), limits)
            yield _VideoReader(container, stream, limits)
    except BadImageError:
        raise
    except MemoryError:
        raise BadImageError(ErrorCode.OUT_OF_MEMORY, "decoding it takes more memory than an actor may use") from None
    except av.error.FFmpegError as error:
        raise explain_ffmpeg_error(file, error, opened=opened) from None
    except OSError:  # reading the file failed
        raise
    except Exception as error:  # PyAV raises anything at all on broken files
        raise BadImageError(ErrorCode.CORRUPT, f"not a video that can be decoded: {error}") from None


def _is_cover(stream: Any) -> bool:
    """Return whether a video stream is a single image that belongs to a sound recording."""
    from av.stream import Disposition

    return bool(stream.disposition & Disposition.attached_pic)
