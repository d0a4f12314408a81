"""Tones of one image as another one would have them."""

import numpy as np
import pytest
from scipy.optimize import isotonic_regression

from fastdup_ray.verify.tone import BINS, PLACES, Sample, fit_tone, match_tones


@pytest.mark.parametrize("kind", ["channels", "luma"])
def test_a_curve_never_falls_and_is_the_nearest_one_that_does_not(kind):
    rng = np.random.default_rng(3)
    levels = np.repeat(np.arange(256, dtype=np.uint8), 32)
    noisy = np.clip(255 - levels + rng.normal(0, 40, levels.size), 0, 255).astype(np.uint8)
    source, target = (np.repeat(values.reshape(64, 128, 1), 3, axis=2) for values in (levels, noisy))
    weight = np.ones((64, 128), np.float32)
    curve = fit_tone(Sample.select(source, weight), Sample.select(target, weight), kind).curve
    assert (np.diff(curve) >= 0).all()
    step = np.rint(levels * ((BINS - 1) / 255)).astype(int)
    shift = np.bincount(step, noisy.astype(float) - levels, BINS) / np.bincount(step, minlength=BINS)
    wanted = isotonic_regression(PLACES + shift, weights=np.bincount(step, minlength=BINS)).x
    np.testing.assert_allclose(curve, wanted, atol=0.5)


def test_images_that_no_change_of_tones_brings_together_have_none(photo):
    first, second = (np.asarray(image.convert("RGB").resize((200, 150))) for image in (photo, photo.rotate(180)))
    mask = np.ones((150, 200), bool)
    assert match_tones(first, second, mask) is None
    brighter = np.clip(first * 1.2 + 10, 0, 255).astype(np.uint8)
    assert match_tones(first, brighter, mask) is not None
