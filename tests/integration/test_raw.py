"""Raw files of cameras: their previews, without one their samples, their facts, and damage."""

import io
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fastdup_ray import make_plan
from fastdup_ray.common.records import Limits
from fastdup_ray.errors import BadImageError
from fastdup_ray.extract import raw
from fastdup_ray.extract.decode import DecodedImage, decode_bytes
from fastdup_ray.extract.model import SIDE, Model
from fastdup_ray.extract.pillow_settings import strict_pillow
from fastdup_ray.extract.raw_structure import is_raw, is_raw_truncated
from fastdup_ray.extract.resize import Fit
from fastdup_ray.extract.thumbnails import make_thumbnail
from tests.helpers.images import encode
from tests.helpers.raw_files import dng
from tests.helpers.runs import PHOTOS, csv_rows, run_inline

pytest.importorskip("rawpy")

LIMITS = Limits(1 << 24)


def photo(name: str, size: tuple[int, int] = (1200, 800)) -> Image.Image:
    with Image.open(PHOTOS / "originals" / f"{name}.jpg") as image:
        return image.convert("RGB").resize(size)


@pytest.fixture(scope="module")
def coffee() -> bytes:
    """Return a file whose samples show something else than its preview."""
    return dng(photo("rocket"), photo("coffee"))


def decode(data: bytes, limits: Limits = LIMITS) -> DecodedImage:
    with strict_pillow(limits.max_pixels):
        return decode_bytes(data, (SIDE, SIDE), limits, Fit(trim=True))


def cosine(one: DecodedImage, other: DecodedImage) -> float:
    rows = Model().embed(np.stack([one.pixels, other.pixels]))
    return float(rows[0] @ rows[1])


def code_of(data: bytes, limits: Limits = LIMITS) -> str:
    with pytest.raises(BadImageError) as caught:
        decode(data, limits)
    return caught.value.code


def test_the_preview_is_what_is_seen(coffee):
    found = decode(coffee)
    assert (found.format, found.width, found.height) == ("RAW", 1200, 800)
    assert found.unseen == {"values"}
    assert found.taken == "2019-05-04 12:30:00"
    assert found.decoder == raw.describe_rawpy()
    assert cosine(found, decode(encode(photo("coffee"), "JPEG"))) > 0.99


@pytest.mark.parametrize("preview", [None, photo("rocket", (300, 200))])
def test_samples_are_developed_where_there_is_no_large_preview(preview):
    found = decode(dng(photo("coffee"), preview))
    assert (found.width, found.height) == (1200, 800)
    assert cosine(found, decode(encode(photo("coffee"), "JPEG"))) > 0.9


@pytest.mark.parametrize("preview", [None, photo("coffee")])
@pytest.mark.parametrize(("orientation", "quarter_turns"), [(3, 2), (6, 3), (8, 1)])
def test_it_is_turned_as_the_camera_was_held(preview, orientation, quarter_turns):
    found = decode(dng(photo("coffee"), preview, orientation))
    upright = photo("coffee").rotate(90 * quarter_turns, expand=True)
    assert (found.width, found.height) == upright.size
    assert cosine(found, decode(encode(upright, "PNG"))) > 0.9


def test_a_preview_that_is_upright_already_is_not_turned():
    upright = photo("coffee").rotate(270, expand=True)
    assert cosine(decode(dng(photo("coffee"), upright, 6)), decode(encode(upright, "PNG"))) > 0.99


def test_a_thumbnail_shows_it_and_has_the_size_of_the_sensor(tmp_path: Path):
    (tmp_path / "a.dng").write_bytes(dng(photo("coffee", (1600, 1200)), photo("coffee"), 6))
    with strict_pillow():
        found = make_thumbnail(str(tmp_path / "a.dng"))
    assert (found.facts.width, found.facts.height) == (1200, 1600)
    assert found.height == 320 > found.width


def test_a_raw_file_is_seen_beside_its_jpeg_and_neither_is_dropped(tmp_path: Path):
    folder = tmp_path / "in"
    folder.mkdir()
    data, copy = dng(photo("coffee"), photo("coffee"), 6), encode(photo("coffee").rotate(270, expand=True), "JPEG")
    for name in ("1", "2"):
        (folder / f"{name}.DNG").write_bytes(data)
        (folder / f"{name}.jpg").write_bytes(copy)
    (folder / "other.dng").write_bytes(dng(photo("rocket")))
    result = run_inline(folder, tmp_path / "out", report=False)
    assert csv_rows(tmp_path / "out" / "features.bad.csv")[1:] == []
    (group,) = {rows["component_id"] for rows in result.components.to_pylist() if rows["count"] > 1}
    assert len([row for row in result.components.to_pylist() if row["component_id"] == group]) == 4
    plan = {Path(row.filename).name: row.action for row in make_plan(tmp_path / "out").rows}
    assert sorted(plan.values()) == ["drop", "drop", "keep", "keep"]
    assert {name[2:] for name, action in plan.items() if action == "keep"} == {"DNG", "jpg"}


@pytest.mark.parametrize("part", [0.05, 0.5, 0.95])
def test_a_truncated_file_is_bad_although_its_preview_is_whole(part):
    data = dng(photo("coffee"), photo("coffee"))
    front = data[: -(1 << 12)]
    assert not is_raw_truncated(data)
    assert code_of(front[: int(len(front) * part)]) == "TRUNCATED"
    samples = bytearray(data)
    place = samples.find((1200 * 800 * 2).to_bytes(4, "little"))
    samples[place : place + 4] = (len(data) + 1).to_bytes(4, "little")
    assert code_of(bytes(samples)) == "TRUNCATED"


def test_limits_are_checked_before_anything_is_decoded(coffee, monkeypatch):
    monkeypatch.setattr(raw, "_read_preview", lambda _: pytest.fail("it was decoded"))
    assert code_of(coffee, Limits(1200 * 800 - 1)) == "TOO_LARGE"
    assert code_of(coffee, Limits(1 << 24, min_size=801)) == "TOO_SMALL"


def test_a_preview_with_too_many_pixels_is_too_large():
    assert code_of(dng(photo("coffee", (100, 80)), photo("coffee")), Limits(1200 * 800 - 1)) == "TOO_LARGE"


@pytest.mark.parametrize("seed", range(40))
def test_damage_is_a_code_or_an_image(coffee, seed):
    rng, data = np.random.default_rng(seed), bytearray(coffee)
    start = len(data) - 700 if seed % 2 else 8
    for place in rng.integers(start, start + 700, 8):
        data[place] = rng.integers(256)
    try:
        assert decode(bytes(data)).pixels.shape == (SIDE, SIDE, 3)
    except BadImageError as error:
        assert error.code in {"TRUNCATED", "CORRUPT", "UNSUPPORTED", "TOO_LARGE", "TOO_SMALL", "NOT_AN_IMAGE"}


def test_directories_that_name_each_other_end():
    loop = b"II*\0\x08\0\0\0" + b"\1\0" + b"\x4a\x01\x04\0\1\0\0\0\x08\0\0\0" + b"\x08\0\0\0"
    assert not is_raw(loop)


@pytest.mark.parametrize("suffix", ["TIFF", "JPEG", "PNG"])
def test_other_formats_are_no_raw_files(suffix):
    file = io.BytesIO()
    photo("coffee").save(file, suffix)
    assert not is_raw(file.getvalue())


def test_without_rawpy_it_says_what_to_install(coffee, monkeypatch):
    monkeypatch.setitem(sys.modules, "rawpy", None)
    with pytest.raises(BadImageError) as caught:
        decode(coffee)
    assert caught.value.code == "UNSUPPORTED"
    assert "pip install 'fastdup-ray[raw]'" in caught.value.message
