"""From a video to pictures of it: frames at regular times."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any, BinaryIO

from PIL import Image

from fastdup_ray.common.records import Limits
from fastdup_ray.errors import BadImageError, ErrorCode
from fastdup_ray.extract.decode import check_size
from fastdup_ray.inputs.video import get_frame_time

RECIPE = 1
"""Part of `video_decoder`: raise it with any change here that changes pixels."""

_FORMATS = "mov,matroska,avi,asf,flv,mpegts,mpeg,mpegvideo,ogg,mxf"
"""What FFmpeg may take a file for: no playlists, nor anything else that names other files or servers."""

_WITH_LENGTH = ("mov", "matroska", "asf", "flv")
"""Formats whose header says how long the video is; of the others FFmpeg guesses it."""

_MISSING_SECONDS, _MISSING_PART = 1.0, 0.01
"""A video may end so much before what its header says: sound and pictures rarely end together."""


@cache
def describe_decoder() -> str | None:
    """What the pixels of frames depend on beside the file; None where PyAV is not installed."""
    try:
        import av
    except ImportError:
        return None
    av.logging.set_level(av.logging.PANIC)  # of broken videos it would write pages to stderr
    versions = ", ".join(
        f"{name} {'.'.join(map(str, av.library_versions[name]))}" for name in ("libavcodec", "libswscale")
    )
    return f"recipe {RECIPE}, av {av.__version__}, {versions}"


def read_frames(file: BinaryIO, limits: Limits) -> Iterator[tuple[str, Image.Image]]:
    """Codec, and the upright picture that is shown at each of the times 0, 1/fps, 2/fps, … of a video.

    A frame that is shown at several of these times comes as often, as the same object. Raises `BadImageError` for a
    video that cannot be decoded to its end, or has more than `limits.max_frames`.
    """
    with _open_video(file, limits) as reading:
        if reading.seconds * limits.video_fps > limits.max_frames:
            raise _make_too_long_error(limits)
        index, shown, end = 0, None, 0.0
        for begin, stop, frame in reading.frames():
            while shown is not None and get_frame_time(index, limits.video_fps) + 0.5 < begin:
                if index == limits.max_frames:
                    raise _make_too_long_error(limits)
                yield reading.codec, shown.image()
                index += 1
            shown, end = _LazyFrame(frame), max(stop, begin + 1)
        while shown is not None and get_frame_time(index, limits.video_fps) + 0.5 < end:
            if index == limits.max_frames:
                raise _make_too_long_error(limits)
            yield reading.codec, shown.image()
            index += 1
        reading.check_end()


def read_frame(file: BinaryIO, milliseconds: int, limits: Limits) -> tuple[str, Image.Image]:
    """Codec, and the upright picture that is shown at a time: what `frames` gives for it."""
    with _open_video(file, limits) as reading:
        for seek in (True, False):
            if seek:
                reading.seek(milliseconds)
            else:
                reading.rewind()
            found, end = None, 0.0
            for begin, stop, frame in reading.frames():
                if begin > milliseconds + 0.5 and (found is not None or seek):
                    break
                found, end = frame, max(stop, begin + 1)
                if begin > milliseconds + 0.5:
                    break
            if found is not None:
                if milliseconds + 0.5 >= end:
                    raise BadImageError(ErrorCode.MISSING, f"the video ends at {end / 1000:.3f} seconds")
                return reading.codec, _LazyFrame(found).image()
    raise BadImageError(ErrorCode.CORRUPT, "no frame of it can be decoded")


def _make_too_long_error(limits: Limits) -> BadImageError:
    reason = f"more than max_frames={limits.max_frames} frames at video_fps={limits.video_fps:g}"
    return BadImageError(ErrorCode.TOO_LARGE, reason)


class _LazyFrame:
    """A decoded frame, made into a picture when that is asked for, and once."""

    def __init__(self, frame: Any):
        self._frame, self._picture = frame, None

    def image(self) -> Image.Image:
        if self._picture is None:
            turn = round(self._frame.rotation / 90) % 4
            self._picture = self._frame.to_image()
            if turn:
                how = (Image.Transpose.ROTATE_90, Image.Transpose.ROTATE_180, Image.Transpose.ROTATE_270)[turn - 1]
                self._picture = self._picture.transpose(how)
        return self._picture


class _VideoReader:
    """An open video. codec: its name. seconds: how long it is by its header; 0 where that says nothing."""

    def __init__(self, container: Any, stream: Any, limits: Limits):
        self._container, self._stream, self._limits = container, stream, limits
        self.codec = stream.codec_context.codec.canonical_name.upper()
        with_length = container.format.name.split(",")[0] in _WITH_LENGTH
        self.seconds = (container.duration or 0) / 1e6 if with_length else 0.0
        self._end = 0.0

    def frames(self) -> Iterator[tuple[float, float, Any]]:
        """Begin and end in milliseconds, and the frame, in the order in which they are shown."""
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
                    begin, stop = self._list_times(frame, begin, stop)
                    yield begin, stop, frame
                    good = True
            if damaged and good:  # before, it is what a recording begins with that was begun in the midst
                more = any(later.pts is not None for later in packets if later.stream is self._stream)
                code = ErrorCode.CORRUPT if more else ErrorCode.TRUNCATED
                raise BadImageError(code, f"the video is damaged at {stop / 1000:.3f} seconds")
        if not good:
            reason = "the video track has no frames" if empty else "no frame of it can be decoded"
            raise BadImageError(ErrorCode.CORRUPT, reason)

    def _list_times(self, frame: Any, begin: float, stop: float) -> tuple[float, float]:
        unit = float(frame.time_base or self._stream.time_base) * 1000
        begin = stop if frame.pts is None else max(begin, (frame.pts - (self._stream.start_time or 0)) * unit)
        rate = self._stream.average_rate
        return begin, begin + ((frame.duration or 0) * unit or (1000 / float(rate) if rate else 0))

    def seek(self, milliseconds: int) -> None:
        """To where what is shown at this time can be decoded from; formats that cannot stay where they are."""
        from av.error import FFmpegError

        place = milliseconds / 1000 / float(self._stream.time_base) + (self._stream.start_time or 0)
        try:
            self._container.seek(int(place), stream=self._stream)
        except FFmpegError:
            self.rewind()

    def rewind(self) -> None:
        self._container.seek(0)

    def check_end(self) -> None:
        """`BadImageError` where the video is shorter than its header says; after the last frame."""
        missing = self.seconds - self._end
        if missing > _MISSING_SECONDS + _MISSING_PART * self.seconds:
            reason = f"the video ends after {self._end:.1f} of {self.seconds:.1f} seconds"
            raise BadImageError(ErrorCode.TRUNCATED, reason)


@contextmanager
def _open_video(file: BinaryIO, limits: Limits) -> Iterator[_VideoReader]:
    """A video on one thread, from its beginning on; what FFmpeg says becomes a `BadImageError`."""
    if describe_decoder() is None:
        raise BadImageError(ErrorCode.UNSUPPORTED, "a video: to read it, pip install 'fastdup-ray[video]'")
    import av

    container = None
    try:
        with av.open(file, options={"format_whitelist": _FORMATS}) as container:
            stream = container.streams.best("video")
            if stream is None or _is_cover(stream):
                raise BadImageError(ErrorCode.NOT_AN_IMAGE, _describe_contents(container))
            stream.codec_context.thread_count = 1
            check_size((stream.width, stream.height), limits)
            yield _VideoReader(container, stream, limits)
    except BadImageError:
        raise
    except MemoryError:
        raise BadImageError(ErrorCode.OUT_OF_MEMORY, "decoding it takes more memory than an actor may use") from None
    except av.error.FFmpegError as error:
        raise _make_refusal(file, error, opened=container is not None) from None
    except OSError:  # reading the file failed
        raise
    except Exception as error:  # PyAV, of what it did not expect
        raise BadImageError(ErrorCode.CORRUPT, f"not a video that can be decoded: {error}") from None


_KINDS = {"audio": "sound", "subtitle": "subtitles"}

_SOUND = re.compile(rb"ID3|\xff[\xe2-\xff]|fLaC|RIFF....WAVE|OggS", re.DOTALL)
"""How files of sound begin that are in none of the formats which FFmpeg may read here."""


def _is_cover(stream: Any) -> bool:
    """Whether a video stream is one picture that belongs to a recording of sound."""
    from av.stream import Disposition

    return bool(stream.disposition & Disposition.attached_pic)


def _describe_contents(container: Any) -> str:
    """What a file has that has no video."""
    kinds = ["a cover" if stream.type == "video" else _KINDS.get(stream.type, "data") for stream in container.streams]
    kinds = sorted(set(kinds), reverse=True)
    return f"this has {' and '.join(kinds)}, and no video" if kinds else "this has no video: it has no tracks at all"


def _make_refusal(file: BinaryIO, error: Any, *, opened: bool) -> BadImageError:
    """What an error of FFmpeg means. opened: the file's header was read by then."""
    import av

    cut, boxes = _read_boxes(file)
    if cut:
        return BadImageError(ErrorCode.TRUNCATED, "the file ends before its index")
    if opened:
        return BadImageError(ErrorCode.CORRUPT, f"the video cannot be decoded: {error.strerror}")
    if boxes and b"moov" not in boxes:
        return BadImageError(ErrorCode.TRUNCATED, "the file has no index: its recording or download did not finish")
    if isinstance(error, av.error.EOFError):
        return BadImageError(ErrorCode.TRUNCATED, "the file ends before its first frame")
    file.seek(0)
    if _SOUND.match(file.read(12)):
        return BadImageError(ErrorCode.NOT_AN_IMAGE, "this has sound, and no video")
    if isinstance(error, av.error.InvalidDataError | av.error.ArgumentError):
        return BadImageError(ErrorCode.CORRUPT, "this is no video in a known format, or its header is damaged")
    return BadImageError(ErrorCode.CORRUPT, f"not a video that can be decoded: {error.strerror}")


def _read_boxes(file: BinaryIO) -> tuple[bool, set[bytes]]:
    """The boxes of an MP4 or QuickTime file, and whether the last one ends behind the end of the file; else none."""
    end = file.seek(0, 2)
    file.seek(4)
    found: set[bytes] = set()
    if file.read(4) not in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip"):
        return False, found
    place = 0
    while place + 8 <= end:
        file.seek(place)
        size, kind = int.from_bytes(file.read(4), "big"), file.read(4)
        found.add(kind)
        if size == 1:
            size = int.from_bytes(file.read(8), "big")
        if size < 8:
            return False, found
        place += size
    return place > end, found
