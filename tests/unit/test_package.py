"""What `import fastdup_ray` gives."""

import importlib

import pytest

import fastdup_ray


@pytest.mark.parametrize("name", sorted(set(fastdup_ray.__all__) - {"__version__"}))
def test_a_public_name_stays_what_it_is_when_a_module_of_that_name_is_imported(name):
    before = getattr(fastdup_ray, name)
    assert callable(before)
    try:
        importlib.import_module(f"fastdup_ray.{name}")
    except ModuleNotFoundError:
        return
    assert getattr(fastdup_ray, name) is before
