"""Progressive JPEGs at an eighth of their size: the same pixels and verdicts from a part of their bytes."""

import io
import random
import struct
from unittest import mock

import numpy as np
import pytest
from PIL import Image

from fastdup_ray.extract import decode
from fastdup_ray.extract.progressive_jpeg import leave_out_details
from tests.helpers.images import cloudy, encode
from tests.helpers.mutants import mutated
from tests.helpers.verdicts import SIDE, verdict_of

SIZE = (8 * SIDE + 40, 8 * SIDE + 3)
NOISE = np.random.default_rng(1).integers(0, 60, (SIZE[1], SIZE[0], 3)).astype(np.uint8)
PHOTO = Image.fromarray(np.asarray(cloudy(1, SIZE)) // 2 + NOISE)


def progressive(image: Image.Image = PHOTO, **options: object) -> bytes:
    return encode(image, "JPEG", progressive=True, quality=60, **options)


FILES = {
    "4:4:4": progressive(subsampling=0),
    "4:2:2": progressive(subsampling=1),
    "4:2:0": progressive(subsampling=2),
    "gray": progressive(PHOTO.convert("L")),
    "restarts": progressive(restart_marker_rows=1),
    "bytes behind its end": progressive() + b"\xff\xda\xff",
}


def at_an_eighth(data: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(data)) as image:
        image.draft(None, (SIDE, SIDE))
        assert image.size == (-(-SIZE[0] // 8), -(-SIZE[1] // 8))
        return np.asarray(image)


def verdict_of_whole(data: bytes) -> tuple[object, ...]:
    with mock.patch.object(decode, "leave_out_details", return_value=None):
        return verdict_of(data)


@pytest.mark.parametrize("name", FILES)
def test_the_pixels_are_the_same_and_the_bytes_are_fewer(name):
    data = FILES[name]
    lighter = leave_out_details(data)
    assert lighter is not None
    assert len(lighter) < 0.6 * len(data)
    assert np.array_equal(at_an_eighth(lighter), at_an_eighth(data))
    assert verdict_of(data) == verdict_of_whole(data)


def scans_of(data: bytes) -> list[int]:
    """Where scans begin."""
    return [place for place in range(len(data)) if data[place : place + 2] == b"\xff\xda"]


@pytest.mark.parametrize(
    "data",
    [
        encode(PHOTO, "JPEG"),
        FILES["4:2:0"][:-2],
        FILES["4:2:0"][: len(FILES["4:2:0"]) // 2],
        FILES["4:2:0"][: scans_of(FILES["4:2:0"])[-1]] + b"\xff\xd9",
        b"\xff\xd8",
        b"",
    ],
    ids=["not progressive", "without its end", "cut", "without its last scan", "only its start", "empty"],
)
def test_a_file_that_is_not_whole_is_left_as_it_is(data):
    assert leave_out_details(data) is None


def test_scans_that_no_jpeg_has_cost_nothing():
    frame = struct.pack(">BHHB", 8, 8, 8, 255) + b"".join(bytes([number, 0x11, 0]) for number in range(255))
    scan = bytes([255]) + b"\1\0" * 32_000 + b"\1\xff\0"
    parts = [b"\xff\xc2", struct.pack(">H", len(frame) + 2), frame]
    parts += [b"\xff\xda", struct.pack(">H", len(scan) + 2), scan] * 50
    assert leave_out_details(b"\xff\xd8" + b"".join(parts) + b"\xff\xd9") is None


def test_nothing_is_left_out_above_an_eighth():
    with mock.patch.object(decode, "leave_out_details") as called:
        verdict_of(progressive(PHOTO.resize((8 * SIDE - 9, 8 * SIDE - 9))))
    called.assert_not_called()


def test_100_mutants_have_the_verdicts_of_the_whole_file():
    draw = random.Random(3)
    mutants = [mutated(draw, [("jpg", data) for data in FILES.values()])[1] for _ in range(100)]
    assert [data for data in mutants if verdict_of(data) != verdict_of_whole(data)] == []
