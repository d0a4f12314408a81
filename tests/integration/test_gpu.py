"""Runs on a GPU."""

import pytest

from fastdup_ray.errors import ConfigError
from tests.helpers.gpu import has_gpu, needs_gpu
from tests.helpers.runs import run_inline


@pytest.mark.parametrize("mark", [pytest.param(None, marks=needs_gpu)])
def test_a_run_on_the_gpu_finds_the_same_copies(mark, photos, finished, tmp_path):
    run_inline(photos, tmp_path / "out", compute="gpu")
    assert (tmp_path / "out/exact_copies.csv").read_bytes() == (finished / "exact_copies.csv").read_bytes()


@pytest.mark.skipif(has_gpu(), reason="there is a GPU")
def test_compute_gpu_without_one_is_an_error(photos, tmp_path):
    with pytest.raises(ConfigError, match="compute='gpu' is not possible"):
        run_inline(photos, tmp_path / "out", compute="gpu")
