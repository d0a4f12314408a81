"""The turns are those of Pillow."""

import numpy as np
import pytest
from PIL import Image

from fastdup_ray.extract.transforms import TRANSFORMS, TransformedEmbedder, select_transforms
from tests.helpers.images import cloudy


@pytest.mark.parametrize("turn", TRANSFORMS)
def test_a_turn_is_that_of_pillow(turn):
    picture = cloudy(1)
    turned = picture.transpose(Image.Transpose[turn.upper()])
    np.testing.assert_array_equal(TRANSFORMS[turn](np.asarray(picture)[None])[0], np.asarray(turned))


def test_rows_stand_side_by_side():
    class Corner:
        dimensions = 3

        def embed(self, pixels):
            return pixels[:, 0, 0].astype(np.float32)

    pixels = np.arange(2 * 4 * 4 * 3, dtype=np.uint8).reshape(2, 4, 4, 3)
    turned = TransformedEmbedder(Corner(), select_transforms(["rotate"]))
    assert turned.dimensions == 9
    corners = pixels[:, 0, 3], pixels[:, 3, 3], pixels[:, 3, 0]  # which come to stand at the top left
    np.testing.assert_array_equal(turned.embed(pixels), np.concatenate(corners, axis=1))
