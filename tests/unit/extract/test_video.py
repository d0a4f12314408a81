"""Videos: frames at regular times, each with a name under which it is found again; broken and endless ones are bad."""

import io
import re
import struct
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from fastdup_ray.common.records import Limits
from fastdup_ray.errors import BadImageError
from fastdup_ray.extract.video import read_frame, read_frames
from fastdup_ray.inputs.video import HEAD, format_frame_suffix, get_frame_time, is_video, split_frame
from tests.helpers.images import encode
from tests.helpers.runs import deadline
from tests.helpers.videos import SIZE, differ, make_clip, shown_at

LIMITS = Limits(max_pixels=1 << 24)
CLIPS = {
    "h264.mp4": "libx264",
    "mpeg4.mov": "mpeg4",
    "mpeg4.avi": "mpeg4",
    "h264.mkv": "libx264",
    "vp8.webm": "libvpx",
    "mpeg2.mpg": "mpeg2video",
    "mpeg2.mts": "mpeg2video",
    "mjpeg.avi": "mjpeg",
    "wmv2.wmv": "wmv2",
    "flv.flv": "flv",
}


def taken(data: bytes | Path, limits: Limits = LIMITS) -> list[Image.Image]:
    """The frames that are taken of a video."""
    with deadline(60), io.BytesIO(data.read_bytes() if isinstance(data, Path) else data) as file:
        return [image for _, image in read_frames(file, limits)]


def reason(data: bytes | Path, limits: Limits = LIMITS) -> tuple[str, str]:
    with pytest.raises(BadImageError) as caught:
        taken(data, limits)
    return caught.value.code, caught.value.message


def at(path: Path, milliseconds: int) -> Image.Image:
    with open(path, "rb") as file, deadline(60):
        return read_frame(file, milliseconds, LIMITS)[1]


# --- frames -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CLIPS)
def test_one_frame_a_second_is_taken_and_found_again(tmp_path, name):
    path = make_clip(tmp_path / name, 3, codec=CLIPS[name], rate=25 if "mpeg2" in name else 8)
    images = taken(path)
    assert len(images) == 3
    for second, image in enumerate(images):
        wrong = min(differ(image, shown_at(other)) for other in range(3) if other != second)
        assert differ(image, shown_at(second)) < min(20, wrong / 2)
    for second in (2, 0, 1):
        assert differ(at(path, second * 1000), images[second]) == 0


@pytest.mark.parametrize(("fps", "count"), [(0.5, 2), (1, 3), (2, 6), (3, 9), (8, 24), (16, 48), (0.01, 1)])
def test_fps_says_how_many(tmp_path, fps, count):
    path = make_clip(tmp_path / "x.mp4")
    images = taken(path, Limits(1 << 24, video_fps=fps))
    assert len(images) == count
    for index in (0, count // 2, count - 1):
        assert differ(at(path, get_frame_time(index, fps)), images[index]) == 0


def test_a_variable_rate_shows_each_frame_until_the_next(tmp_path):
    path = make_clip(tmp_path / "x.mkv", codec="libx264", times=[0, 40, 1500, 1520, 4010, 4500, 5000])
    shown = [differ(image, shown_at(second)) for image, second in zip(taken(path), [0, 0, 1, 1, 1, 5], strict=False)]
    assert len(shown) == 6
    assert max(shown) < 20


def test_a_still_video_of_one_frame_is_one_row(tmp_path):
    assert len(taken(make_clip(tmp_path / "x.mp4", times=[0]))) == 1


@pytest.mark.parametrize(
    ("matrix", "turn"),
    [
        ((0, 1, 0, -1, 0, 0), Image.Transpose.ROTATE_270),
        ((-1, 0, 0, 0, -1, 0), Image.Transpose.ROTATE_180),
        ((0, -1, 0, 1, 0, 0), Image.Transpose.ROTATE_90),
    ],
)
def test_a_video_that_a_phone_held_upright_stands_upright(tmp_path, matrix, turn):
    path = make_clip(tmp_path / "x.mp4", 1)
    lying = taken(path)[0]
    data = bytearray(path.read_bytes())
    place = data.index(b"tkhd") + 4 + 40  # version 0: 40 bytes before the matrix
    assert data[place : place + 4] == struct.pack(">i", 1 << 16)
    data[place : place + 36] = struct.pack(">9i", *(value << 16 for value in matrix), 0, 0, 1 << 30)
    assert differ(taken(bytes(data))[0], lying.transpose(turn)) == 0


def test_names_of_frames():
    assert format_frame_suffix(get_frame_time(12, 1)) == "#t=12.000"
    assert [format_frame_suffix(get_frame_time(index, 3)) for index in range(4)] == [
        "#t=0.000",
        "#t=0.333",
        "#t=0.667",
        "#t=1.000",
    ]
    assert split_frame("/a\n#t=1.000/b.mp4#t=100.025") == ("/a\n#t=1.000/b.mp4", 100_025)
    assert len({get_frame_time(index, 1000) for index in range(5000)}) == 5000
    for name in ("/a.mp4", "/a.mp4#t=1", "/a.mp4#t=1.0000", "/a.mp4#t=-1.000", "#t=1.000"):
        assert split_frame(name) is None


# --- broken and endless ones ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["h264.mp4", "h264.mkv", "vp8.webm", "mpeg4.avi", "flv.flv"])
@pytest.mark.parametrize("part", [0.3, 0.6])
def test_a_cut_video_is_bad(tmp_path, name, part):
    data = make_clip(tmp_path / name, 6, codec=CLIPS[name]).read_bytes()
    assert reason(data[: int(len(data) * part)])[0] in ("TRUNCATED", "CORRUPT")


def test_a_video_whose_download_stopped_is_truncated(tmp_path):
    data = make_clip(tmp_path / "x.mp4", 4, codec="libx264").read_bytes()
    assert reason(data[: len(data) // 2]) == ("TRUNCATED", "the file ends before its index")


@pytest.mark.parametrize("name", ["h264.mp4", "mpeg4.avi"])
def test_a_video_that_is_damaged_in_the_midst_is_bad(tmp_path, name):
    data = bytearray(make_clip(tmp_path / name, 4, codec=CLIPS[name]).read_bytes())
    for place in range(len(data) * 2 // 5, len(data) * 3 // 5, 5):
        data[place] ^= 0x5A
    assert reason(bytes(data))[0] in ("CORRUPT", "TRUNCATED")


@pytest.mark.parametrize(
    "data", [b"", b"x" * 5000, bytes(5000), b"\0\0\0\x18ftypmp42" + bytes(5000), b"RIFF\0\0\0\0AVI "]
)
def test_what_is_no_video_is_bad(data):
    assert reason(data)[1]


@pytest.mark.parametrize("playlist", ["#EXTM3U\n#EXTINF:1,\n{}\n", "ffconcat version 1.0\nfile '{}'\n"])
def test_no_video_leads_to_another_file(tmp_path, playlist):
    other = make_clip(tmp_path / "secret.mp4", 1)
    assert reason(playlist.format(other).encode())[0] == "CORRUPT"


def make_sound(path: Path, codec: str, format: str, *, beside: str = "") -> Path:
    """A second of silence. beside: a video track that gets no packet ("empty"), or a "cover"."""
    with av.open(str(path), "w", format=format) as container:
        sound = container.add_stream(codec, rate=48_000)
        if beside:
            track = container.add_stream("png" if beside == "cover" else "mpeg4", rate=1)
            track.width, track.height, track.pix_fmt = *SIZE, "rgb24" if beside == "cover" else "yuv420p"
        if beside == "cover":
            track.disposition = av.stream.Disposition.attached_pic
            container.start_encoding()
            packet = av.Packet(encode(shown_at(0), "PNG"))
            packet.stream, packet.pts, packet.dts, packet.time_base = track, 0, 0, Fraction(1, 90_000)
            container.mux(packet)
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 48_000), np.float32), "fltp", "mono")
        silence.sample_rate = 48_000
        for frame in av.AudioResampler(sound.codec_context.format.name, "mono", 48_000).resample(silence):
            container.mux(sound.encode(frame))
        container.mux(sound.encode())
    return path


@pytest.mark.parametrize(
    ("codec", "format"),
    [
        *(
            ("aac", "mp4"),
            ("aac", "ipod"),
            ("aac", "matroska"),
            ("pcm_s16le", "avi"),
            ("mp2", "mpeg"),
            ("aac", "mpegts"),
        ),
        *(("libmp3lame", "mp3"), ("flac", "flac"), ("pcm_s16le", "wav"), ("libopus", "ogg")),
    ],
)
def test_sound_alone_is_no_image(tmp_path, codec, format):
    path = make_sound(tmp_path / "x.mp4", codec, format)
    assert reason(path) == ("NOT_AN_IMAGE", "this has sound, and no video")


def test_the_cover_of_a_recording_is_no_video(tmp_path):
    path = make_sound(tmp_path / "x.mp4", "aac", "mp4", beside="cover")
    assert reason(path) == ("NOT_AN_IMAGE", "this has sound and a cover, and no video")


def test_subtitles_alone_are_no_image(tmp_path):
    with av.open(str(tmp_path / "x.mkv"), "w") as container:
        track = container.add_stream("ass")
        container.start_encoding()
        packet = av.Packet(b"0,0,Default,,0,0,0,,hello")
        packet.stream, packet.pts, packet.dts, packet.duration, packet.time_base = track, 0, 0, 1000, Fraction(1, 1000)
        container.mux(packet)
    assert reason(tmp_path / "x.mkv") == ("NOT_AN_IMAGE", "this has subtitles, and no video")


@pytest.mark.parametrize("format", ["matroska", "avi"])
def test_a_video_track_without_frames_is_told(tmp_path, format):
    path = make_sound(tmp_path / "x.mp4", "pcm_s16le", format, beside="empty")
    assert reason(path) == ("CORRUPT", "the video track has no frames")


@pytest.mark.parametrize(("format", "code"), [("mp4", "NOT_AN_IMAGE"), ("matroska", "TRUNCATED"), ("avi", "CORRUPT")])
def test_a_recording_that_ended_before_its_first_frame_is_told(tmp_path, format, code):
    with av.open(str(tmp_path / "x"), "w", format=format) as container:
        stream = container.add_stream("mpeg4", rate=8)
        stream.width, stream.height, stream.pix_fmt = *SIZE, "yuv420p"
        container.start_encoding()
    found, told = reason(tmp_path / "x")
    assert found == code
    assert re.search("no tracks|no frames|before its first frame", told)


def box(kind: bytes, content: bytes = b"") -> bytes:
    return (8 + len(content)).to_bytes(4, "big") + kind + content


def test_an_mp4_without_an_index_was_not_finished(tmp_path):
    head = box(b"ftyp", b"isom\0\0\2\0isommp41")
    for data in (head, head + box(b"mdat", bytes(5000))):
        assert reason(data) == ("TRUNCATED", "the file has no index: its recording or download did not finish")
    assert reason(head + box(b"moov")) == ("NOT_AN_IMAGE", "this has no video: it has no tracks at all")


@pytest.mark.parametrize("data", [b"<!DOCTYPE html><html>404</html>", b"hello\n" * 99, b"%PDF-1.4\n" * 99, bytes(999)])
def test_another_file_under_the_name_of_a_video_is_told_in_plain_words(data):
    assert reason(data) == ("CORRUPT", "this is no video in a known format, or its header is damaged")


def test_more_frames_than_max_frames_are_too_many(tmp_path):
    path = make_clip(tmp_path / "x.mp4", 5)
    assert len(taken(path, Limits(1 << 24, max_frames=5))) == 5
    assert reason(path, Limits(1 << 24, max_frames=4))[0] == "TOO_LARGE"
    assert reason(path, Limits(1 << 24, video_fps=8, max_frames=39))[0] == "TOO_LARGE"


@pytest.mark.parametrize("name", ["x.mkv", "x.avi"])
def test_an_endless_video_is_given_up(tmp_path, name):
    codec, times = "libx264" if name == "x.mkv" else "mpeg4", None
    if name == "x.mkv":
        times = [0, 1000, 400_000_000]  # two frames, and one after four days
    path = make_clip(tmp_path / name, 20, codec=codec, times=times)
    assert reason(path, Limits(1 << 24, max_frames=10))[0] == "TOO_LARGE"


def test_frames_that_are_too_large_or_too_small_are_never_decoded(tmp_path):
    path = make_clip(tmp_path / "x.mp4", 1)
    assert reason(path, Limits(SIZE[0] * SIZE[1] - 1))[0] == "TOO_LARGE"
    assert reason(path, Limits(1 << 24, min_size=121))[0] == "TOO_SMALL"


def test_a_frame_after_the_end_is_missing(tmp_path):
    with pytest.raises(BadImageError) as caught:
        at(make_clip(tmp_path / "x.mp4", 2), 2000)
    assert caught.value.code == "MISSING"


# --- what is a video --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CLIPS)
def test_a_video_is_known_by_its_first_bytes(tmp_path, name):
    head = make_clip(tmp_path / name, 1, codec=CLIPS[name], rate=25).read_bytes()[:HEAD]
    assert is_video("without suffix", head)


def test_pictures_are_no_videos(photos):
    for path in photos.rglob("*.*"):
        assert not is_video(path.name, path.read_bytes()[:HEAD])
    for format in ("AVIF", "JPEG2000", "GIF", "WEBP", "TIFF", "BMP", "PPM"):
        assert not is_video("x.jpg", encode(shown_at(0), format)[:HEAD])
    assert not is_video("picture.mp4", encode(shown_at(0), "JPEG")[:HEAD])
    assert is_video("broken.mp4", b"\x01\x02\x03")
    assert not is_video("empty.mp4", b"")


# --- whole runs -------------------------------------------------------------------------------------------------------


# --- names and files --------------------------------------------------------------------------------------------------
