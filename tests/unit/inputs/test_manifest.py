"""The manifest: the same entries whether its parts are in memory or in files, and wherever they end."""

import hashlib
import os
import pickle
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from fastdup_ray.common import batches, ref_tables
from fastdup_ray.common.records import ImageRef
from fastdup_ray.inputs import manifest as module
from fastdup_ray.inputs.manifest import KEY, Manifest
from fastdup_ray.storage import open_store

ROWS = 10
REFS = [ImageRef(os.fsdecode(b"/%04d\xff.jpg" % number), number, str(number % 3)) for number in range(95)]


@pytest.fixture(autouse=True)
def small_parts(monkeypatch):
    monkeypatch.setattr(module, "ENTRIES_PER_PART", ROWS)
    monkeypatch.setattr(ref_tables, "LARGEST_BATCH", 3)
    monkeypatch.setattr(batches, "LARGEST_BATCH", 3)


@pytest.fixture(params=["in memory", "in files"])
def make(request, tmp_path):
    store = open_store(tmp_path) if request.param == "in files" else None
    return lambda refs: Manifest.from_refs(refs, store, "list")


@pytest.mark.parametrize("count", [1, 9, 10, 11, 95])
@pytest.mark.parametrize("window", [(0, 95), (0, 1), (5, 17), (9, 11), (10, 20), (37, 95), (20, 20)])
def test_a_range_has_the_entries_of_the_list(make, count, window):
    start, stop = (min(bound, count) for bound in window)
    manifest, refs = make(REFS[:count]).window(start, stop), REFS[:count][start:stop]
    assert len(manifest) == len(refs)
    assert list(manifest.refs(np.arange(len(refs)))) == refs
    assert list(manifest.refs(np.arange(len(refs))[::7])) == refs[::7]
    assert [uri for block in manifest.blocks() for uri in block["uri"].to_pylist()] == [
        os.fsencode(ref.uri) for ref in refs
    ]
    assert {len(block) for block in list(manifest.blocks())[:-1]} <= {ROWS}
    assert [block.column_names for block in manifest.key_blocks()] == [list(KEY)] * -(-len(refs) // ROWS)
    assert manifest.uris(0, len(refs)).to_pylist() == [os.fsencode(ref.uri) for ref in refs]
    assert manifest.digest == hashlib.sha256(b"".join(os.fsencode(ref.uri) + b"\0" for ref in refs)).hexdigest()


def test_shards_are_ranges_of_the_list(make):
    offsets = np.arange(5, 80, 3)
    shards = list(make(REFS).window(10, 95).shards(offsets, iter([4, 9, 100])))
    assert [len(shard.refs) for shard in shards] == [4, 9, 12]
    assert [ref for shard in shards for ref in shard.refs] == [REFS[10 + offset] for offset in offsets]
    assert [offset for shard in shards for offset in shard.offsets] == (10 + offsets).tolist()
    assert [(shard.start, shard.stop) for shard in shards] == [(s.offsets[0], s.offsets[-1] + 1) for s in shards]


def test_keys_are_compared_in_order(make):
    keys = pa.concat_tables(make(REFS).key_blocks())
    assert make(REFS).has_keys(keys)
    assert not make(REFS).has_keys(keys.slice(1))
    assert not make(REFS[:-1]).has_keys(keys)
    assert not make([*REFS[1:], REFS[0]]).has_keys(keys)
    assert not make([*REFS[:-1], ImageRef(REFS[-1].uri, REFS[-1].size, "other")]).has_keys(keys)


def test_all_are_missing_only_if_none_can_be_looked_up(make):
    gone = [ImageRef(f"/{number}", 0, "") for number in range(25)]
    assert make(gone).is_all_missing()
    assert not make([*gone, REFS[0]]).is_all_missing()


def test_what_another_process_gets_does_not_grow_with_the_list(tmp_path):
    def make_pickle(count: int) -> bytes:
        manifest = Manifest.from_refs(REFS[:count], open_store(tmp_path), "list")
        list(manifest.blocks())
        return pickle.dumps(manifest)

    sizes = [len(make_pickle(count)) for count in (30, 90)]
    assert sizes[1] - sizes[0] < 6 * 100
    assert list(pickle.loads(make_pickle(95)).refs(range(95))) == REFS


def test_only_whole_parts_are_written(tmp_path: Path):
    Manifest.from_refs(REFS[:9], open_store(tmp_path), "list")
    assert not list(tmp_path.iterdir())
    Manifest.from_refs(REFS[:25], open_store(tmp_path), "list")
    assert [path.name for path in sorted((tmp_path / "list").iterdir())] == [
        "part-000000.parquet",
        "part-000001.parquet",
    ]
