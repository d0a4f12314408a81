"""Names in a file are found among those of all images, in parts."""

import numpy as np
import pyarrow as pa
import pytest

from fastdup_ray.common import csv_columns
from fastdup_ray.errors import DamagedError
from fastdup_ray.features import find_images, match_keys
from fastdup_ray.storage import open_store
from fastdup_ray.storage.csv_files import write_csv

HEADER = csv_columns.EXACT_COPIES_HEADER
NAMES = pa.array(
    [*(b"/a/%d.jpg" % row for row in range(40, 0, -1)), b"/x/\xff,.jpg", b'/x/".jpg', b""], pa.large_binary()
)


@pytest.fixture(params=[1, 3, 1 << 16])
def keys_per_part(request, monkeypatch):
    monkeypatch.setattr(match_keys, "KEYS_PER_PART", request.param)


@pytest.mark.usefixtures("keys_per_part")
@pytest.mark.parametrize("count", [0, 1, 500])
def test_images_are_found_by_their_names(tmp_path, count):
    store, ends = open_store(tmp_path), np.random.default_rng(count).integers(0, len(NAMES), (2, count))
    columns = [NAMES.take(pa.array(end)) for end in ends]
    write_csv(store, "list.csv", HEADER, [*columns, pa.array(["bytes"] * count)])
    found = find_images(store.fetch("list.csv"), HEADER, ["copy_of", "filename"], NAMES, store.scratch)
    assert [end.tolist() for end in found] == [end.tolist() for end in ends[::-1]]


@pytest.mark.usefixtures("keys_per_part")
def test_a_name_of_no_image_is_damage(tmp_path):
    store, names = open_store(tmp_path), pa.array([b"/a/1.jpg", b"/a/41.jpg"])
    write_csv(store, "list.csv", HEADER, [names, names, names])
    with pytest.raises(DamagedError, match="another run"):
        find_images(store.fetch("list.csv"), HEADER, ["filename"], NAMES, store.scratch)
