"""What came before is known, whatever the batches, and in few bytes."""

import tracemalloc

import numpy as np
import pyarrow as pa
import pytest

from fastdup_ray.common.batches import LARGEST_BATCH, SMALLEST_BATCH, make_batches
from fastdup_ray.common.seen import SeenKeys, SeenNames, hash_names


def first_ones(items: list) -> list[bool]:
    seen = set()
    return [item not in seen and not seen.add(item) for item in items]


@pytest.mark.parametrize("devices", [1, 3, 500])
@pytest.mark.parametrize("batch", [1, 7, 100, 5000])
def test_keys_are_new_once(devices, batch):
    random = np.random.default_rng(devices)
    major, minor = random.integers(-300, 300, 5000), random.integers(0, devices, 5000)
    seen = SeenKeys()
    starts = range(0, 5000, batch)
    found = [seen.add(major[start : start + batch], minor[start : start + batch]) for start in starts]
    assert np.concatenate(found).tolist() == first_ones(list(zip(major.tolist(), minor.tolist(), strict=True)))


def test_names_are_new_once():
    names = [b"/%d" % (number % 700) for number in range(3000)] + [b"", b"\0", b"/1\0", b"\xff", b""]
    seen = SeenNames()
    found = [seen.add(batch) for batch in make_batches(names)]
    assert np.concatenate(found).tolist() == first_ones(names)
    assert len(seen.add([])) == 0


def test_batches_are_small_at_first():
    sizes = [len(batch) for batch in make_batches(range(20_000))]
    assert sizes[0] == SMALLEST_BATCH
    assert max(sizes) == LARGEST_BATCH
    assert sum(sizes) == 20_000


def test_a_name_takes_few_bytes():
    count = 1 << 17
    tracemalloc.start()
    try:
        seen = SeenNames()
        for batch in make_batches(b"/a/folder/with/a/long/name/%09d.jpg" % number for number in range(count)):
            assert seen.add(batch).all()
        held, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held < 20 * count
    assert most < 55 * count


def test_hashes_of_names_depend_on_their_bytes_alone():
    names = pa.array([b"", b"a", b"a\0", b"/x/01.jpg", b"/x/02.jpg", b"/x/03.jpg", b"/x/04.jpg"], pa.large_binary())
    first, second = hash_names(names)
    assert len(set(first.tolist())) == len(set(second.tolist())) == len(names)
    for start in range(len(names)):
        assert [half.tolist() for half in hash_names(names[start:])] == [
            first[start:].tolist(),
            second[start:].tolist(),
        ]
    for half in (first, second):
        assert half[3] + half[6] != half[4] + half[5]  # a pair is the sum of its names
