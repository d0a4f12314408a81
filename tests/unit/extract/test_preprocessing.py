"""What the metadata of a model says of its pixels, and what becomes of an image by it."""

import numpy as np
import pytest
from PIL import Image

from fastdup_ray.common.records import Box, Limits, Unseen
from fastdup_ray.errors import ConfigError
from fastdup_ray.extract.decode import decode_bytes
from fastdup_ray.extract.model import Model, make_fingerprint
from fastdup_ray.extract.pillow_settings import strict_pillow
from fastdup_ray.extract.preprocessing import IMAGENET_MEAN, IMAGENET_STD, Preprocessing, parse_preprocessing
from fastdup_ray.extract.resize import SQUASH, Fit
from tests.helpers.images import cloudy, encode
from tests.helpers.models import WEIGHTS, save_model

OPEN = ("n", 3, "h", "w")

ALL = {
    "input_size": "3,64,96",
    "mean": "0.5,0.25,0.125",
    "std": "0.5",
    "interpolation": "bicubic",
    "crop_mode": "center",
    "crop_pct": "0.875",
    "channel_order": "BGR",
}


def pixels_of(image: Image.Image, size: tuple[int, int], fit: Fit, box: Box | None = None) -> np.ndarray:
    with strict_pillow():
        return decode_bytes(encode(image, "PNG"), size, Limits(10**8, box=box), fit).pixels


def test_metadata_is_read_as_it_was_written():
    read = parse_preprocessing(ALL | {"author": "somebody", "channels": "3"})
    assert read == Preprocessing((3, 64, 96), (0.5, 0.25, 0.125), (0.5,), "bicubic", "center", 0.875, "BGR")
    assert parse_preprocessing(read.to_metadata()) == read
    assert read.to_metadata() == ALL


def test_without_metadata_an_image_is_squashed_and_normalized_as_imagenets():
    assert parse_preprocessing({}) == Preprocessing(None, IMAGENET_MEAN, IMAGENET_STD)
    assert parse_preprocessing({}).fit == SQUASH


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("input_size", value) for value in ("224", "1,224,224", "3,0,224", "3,2.5,4", "3,1e9,4", "3,h,w", "")),
        *(("mean", value) for value in ("a lot", "1,2", "nan", "Infinity", "", "null", "true", '"1"')),
        *(("std", value) for value in ("0", "-1", "1,1,0", "1e400")),
        *(("interpolation", value) for value in ("cubic", "BICUBIC", "")),
        *(("crop_mode", value) for value in ("border", "")),
        *(("crop_pct", value) for value in ("0", "0.09", "1.1", "-0.5", "87%", "1,1", "nan")),
        *(("channel_order", value) for value in ("rgb", "RGBA", "")),
    ],
)
def test_a_value_that_is_none_is_named_in_one_line(name, value, tmp_path):
    path = save_model(tmp_path / "m.onnx", shape=OPEN, metadata=ALL | {name: value})
    with pytest.raises(ConfigError) as caught:
        Model(path)
    assert f"{name}={value!r}" in str(caught.value)
    assert repr(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_size_of_an_open_graph_is_that_of_the_metadata_and_no_other_than_that_of_a_closed_one(tmp_path):
    size = {"input_size": "3, 64, 96"}
    assert Model(save_model(tmp_path / "open.onnx", shape=OPEN, metadata=size)).size == (96, 64)
    assert Model(save_model(tmp_path / "half.onnx", shape=("n", "h", 96, 3), metadata=size)).size == (96, 64)
    with pytest.raises(ConfigError, match="input_size='3,64,96'"):
        Model(save_model(tmp_path / "closed.onnx", metadata=size))


@pytest.mark.parametrize("shape", [("n", 3, 32, 48), ("n", 32, 48, 3)])
def test_a_model_that_takes_bgr_gets_bgr(shape, tmp_path):
    colors = {"mean": "0.1,0.2,0.3", "std": "0.4,0.5,0.6"}
    own = Model(save_model(tmp_path / "rgb.onnx", shape=shape, metadata=colors))
    turned = save_model(
        tmp_path / "bgr.onnx", shape=shape, weights=WEIGHTS[::-1].copy(), metadata=colors | {"channel_order": "BGR"}
    )
    pixels = np.stack([np.asarray(cloudy(seed, (48, 32))) for seed in range(3)])
    assert np.allclose(Model(turned).embed(pixels), own.embed(pixels), atol=1e-5)
    plain = Model(save_model(tmp_path / "plain.onnx", shape=shape, weights=WEIGHTS[::-1].copy(), metadata=colors))
    assert not np.allclose(plain.embed(pixels), own.embed(pixels), atol=1e-2)


def test_other_metadata_is_another_fingerprint(tmp_path):
    paths = [save_model(tmp_path / f"{value}.onnx", metadata={"crop_pct": value}) for value in ("1", "0.9")]
    one, other = (make_fingerprint(Model(path).sha256) for path in paths)
    assert one != other


@pytest.mark.parametrize("size", [(300, 200), (200, 300), (64, 64), (672, 48)])
@pytest.mark.parametrize("share", [1.0, 0.875])
def test_the_center_is_what_resizing_the_shorter_side_and_cropping_leaves(size, share):
    image, side = cloudy(5, size), 56
    shorter = round(side / share)
    scale = shorter / min(size)
    whole = image.resize((round(size[0] * scale), round(size[1] * scale)), Image.Resampling.BICUBIC)
    left, top = (whole.width - side) // 2, (whole.height - side) // 2
    expected = np.asarray(whole.crop((left, top, left + side, top + side)), int)
    own = pixels_of(image, (side, side), Fit(center=True, share=share, resampling=Image.Resampling.BICUBIC))
    assert np.abs(own - expected).mean() < 0.5  # gray levels
    squashed = pixels_of(image, (side, side), Fit(share=share))
    assert size[0] == size[1] or np.abs(squashed - expected).mean() > 5


def test_a_share_without_the_center_is_a_share_of_each_side():
    image = cloudy(6, (160, 80))
    own = pixels_of(image, (56, 56), Fit(share=0.5))
    cut = pixels_of(image.crop((40, 20, 120, 60)), (56, 56), SQUASH)
    assert np.abs(own.astype(int) - cut)[2:-2, 2:-2].max() <= 1  # at the edge, the filter sees what is beside


def test_the_center_is_that_of_the_bounding_box():
    image = cloudy(7, (400, 300))
    box = Box(rows=20, cols=50, width=200, height=100)
    own = pixels_of(image, (40, 40), Fit(center=True), box)
    cut = pixels_of(image.crop((100, 20, 200, 120)), (40, 40), SQUASH)
    assert np.abs(own.astype(int) - cut)[2:-2, 2:-2].max() <= 1


def test_filters_differ():
    image = cloudy(8, (300, 300))
    results = {pixels_of(image, (40, 40), Fit(resampling=one)).tobytes() for one in (2, 3, 1)}
    assert len(results) == 3


@pytest.mark.parametrize(
    ("size", "fit", "unseen"),
    [
        ((64, 64), Fit(center=True), set()),
        ((65, 64), Fit(center=True), set()),  # half a pixel at each end
        ((90, 64), Fit(center=True), {Unseen.CROP}),
        ((64, 90), Fit(center=True), {Unseen.CROP}),
        ((64, 640), Fit(center=True), {Unseen.CROP}),
        ((64, 640), SQUASH, {Unseen.ASPECT_RATIO}),
        ((64, 64), Fit(share=0.9), {Unseen.CROP}),
    ],
)
def test_what_is_beside_the_center_is_not_seen(size, fit, unseen):
    with strict_pillow():
        assert decode_bytes(encode(cloudy(9, size), "PNG"), (32, 32), Limits(10**8), fit).unseen == unseen


def test_a_large_jpeg_is_decoded_large_enough_for_its_center():
    """Pillow decodes a JPEG at half its size if that is enough: for the part that is used, not for the whole."""
    image, fit = cloudy(3, (300, 280)), Fit(center=True, share=0.5)
    with strict_pillow():
        jpeg = decode_bytes(encode(image, "JPEG", quality=95), (100, 100), Limits(10**8), fit).pixels.astype(int)
    assert np.abs(jpeg - pixels_of(image, (100, 100), fit)).mean() < 2
