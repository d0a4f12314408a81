"""What `import fastdup_ray` gives."""

import importlib
import warnings

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


@pytest.mark.parametrize(
    ("old", "new"), [("Applied", "ApplyResult"), ("Built", "DatasetResult"), ("Undone", "UndoResult")]
)
def test_an_old_name_is_the_new_one_and_says_so(old, new):
    with pytest.warns(DeprecationWarning, match=f"{old} .*{new}") as caught:
        value = getattr(fastdup_ray, old)
    assert caught[0].filename == __file__
    assert value is getattr(fastdup_ray, new)
    assert old not in fastdup_ray.__all__


def test_a_name_that_there_is_not_is_an_attribute_error():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert not hasattr(fastdup_ray, "no_such_name")
