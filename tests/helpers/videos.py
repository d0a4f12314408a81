"""Small real videos, made by PyAV: each second shows another picture."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from PIL import Image

from tests.helpers.images import cloudy

SIZE = (160, 120)


def make_clip(
    path: Path,
    seconds: int = 3,
    *,
    codec: str = "mpeg4",
    rate: int = 8,
    size: tuple[int, int] = SIZE,
    first: int = 0,
    times: Sequence[int] | None = None,
    format: str | None = None,
) -> Path:
    """A video whose second s shows `cloudy(first + s)`. times: milliseconds of its frames, where they are irregular."""
    exact = times is not None
    times = times or [number * 1000 // rate for number in range(seconds * rate)]
    with av.open(str(path), "w", format=format) as container:
        stream = container.add_stream(codec, rate=rate)
        stream.width, stream.height, stream.pix_fmt = *size, "yuvj420p" if codec == "mjpeg" else "yuv420p"
        if exact:
            stream.codec_context.time_base = Fraction(1, 1000)
        stream.codec_context.thread_count = 1
        if codec == "mpeg4":
            stream.codec_context.qmin = stream.codec_context.qmax = 2
        for time in times:
            frame = av.VideoFrame.from_image(cloudy(first + time // 1000, size))
            frame.pts, frame.time_base = time, Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def shown_at(second: int, size: tuple[int, int] = SIZE, first: int = 0) -> Image.Image:
    return cloudy(first + second, size)


def differ(a: Image.Image, b: Image.Image) -> float:
    """The mean difference of two pictures, 0 to 255."""
    return float(np.abs(np.asarray(a, float) - np.asarray(b, float)).mean())
