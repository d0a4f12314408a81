"""What the model gets of an image."""

import numpy as np
from PIL import Image

from fastdup_ray.common.records import Box, Limits
from fastdup_ray.extract.decode import decode_bytes
from fastdup_ray.extract.model import SIDE
from fastdup_ray.extract.pillow_settings import strict_pillow
from fastdup_ray.extract.resize import Fit
from tests.helpers.images import encode


def squashed(image: Image.Image) -> np.ndarray:
    return np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BILINEAR))


def pixels_of(image: Image.Image, trim: bool = True, box: Box | None = None) -> np.ndarray:
    with strict_pillow():
        return decode_bytes(encode(image, "PNG"), (SIDE, SIDE), Limits(10**8, box=box), Fit(trim=trim)).pixels
