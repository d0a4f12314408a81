"""Dropped images whose sidecars their keepers lack are found, whatever a block holds and wherever the keepers are."""

import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastdup_ray.analysis import sorting
from fastdup_ray.common.access import DEFAULT_ACCESS
from fastdup_ray.curation import sidecar_check
from fastdup_ray.curation.sidecar_check import find_unique_sidecars

FOLDERS = ("a", "b", "b/c")
IMAGES = [f"{folder}/{stem}{suffix}" for folder in FOLDERS for stem in "xyz" for suffix in (".jpg", ".png")]
SIDECARS = [f"{folder}/{stem}{suffix}" for folder in FOLDERS for stem in "xyz" for suffix in (".txt", ".jpg.xmp")]


@settings(max_examples=30)
@given(
    st.lists(st.integers(0, len(IMAGES) - 1), min_size=len(IMAGES), max_size=len(IMAGES)),
    st.dictionaries(st.sampled_from(SIDECARS), st.sampled_from(["one", "two"])),
    st.integers(2, 5),
)
def test_images_stay_that_have_sidecars_that_their_keepers_lack(drawn, contents, size):
    keepers = [keeper if drawn[keeper] == keeper else image for image, keeper in enumerate(drawn)]
    planned = np.random.default_rng(size).permutation(len(IMAGES))
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(sidecar_check, "ROWS_PER_GROUP", size)
        patch.setattr(sorting, "NUMBERS_PER_RUN", 2 * size)
        patch.setattr(sorting, "NUMBERS_PER_BLOCK", size)
        for name, content in contents.items():
            (Path(folder) / name).parent.mkdir(parents=True, exist_ok=True)
            (Path(folder) / name).write_text(content)
        for name in FOLDERS:
            (Path(folder) / name).mkdir(parents=True, exist_ok=True)
        names = pa.array([f"{folder}/{name}".encode() for name in IMAGES], pa.large_binary())
        found = find_unique_sidecars(names, planned, np.array(keepers)[planned], DEFAULT_ACCESS, tempfile.TemporaryFile)
    assert found.keys() == {image for image in range(len(IMAGES)) if lacks_one(image, keepers, contents)}
    assert all(Path(IMAGES[image]).stem in reason for image, reason in found.items())


def lacks_one(image: int, keepers: list[int], contents: dict[str, str]) -> bool:
    """Return whether a dropped image has a sidecar of dropped images alone that its keeper does not have so."""
    if keepers[image] == image:
        return False
    for suffix in (".txt", ".xmp"):
        own, owners = find_sidecar(image, suffix)
        theirs, _ = find_sidecar(keepers[image], suffix)
        leaves = own in contents and all(keepers[owner] != owner for owner in owners)
        if leaves and contents.get(theirs) != contents[own]:
            return True
    return False


def find_sidecar(image: int, suffix: str) -> tuple[str, list[int]]:
    """Return the name that a sidecar of an image has, and the images that it belongs to."""
    if suffix == ".xmp":
        return f"{IMAGES[image]}.xmp", [image]
    stem = IMAGES[image].rpartition(".")[0]
    return f"{stem}.txt", [other for other, name in enumerate(IMAGES) if name.rpartition(".")[0] == stem]
