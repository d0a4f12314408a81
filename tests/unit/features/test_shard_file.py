"""Feature shards: written and read back whole or without embeddings, and any damage found."""

import os
from pathlib import Path

import numpy as np
import pytest

from fastdup_ray.common import layout
from fastdup_ray.common.records import Entry
from fastdup_ray.errors import DamagedError, ErrorCode
from fastdup_ray.features import open_shard, shard_file, write_shard
from fastdup_ray.features.shard_file import read_shard_entries
from fastdup_ray.features.stored_embeddings import EmbeddingReader
from fastdup_ray.inputs.manifest import make_entries_table
from fastdup_ray.storage import Store, open_store
from tests.helpers.embeddings import unit_rows

D = 8
STEM = "shards/features-000000000000-000000000003-x"
ENTRIES = [
    Entry("/a.jpg", 10, "1", sha256="ab", width=10, height=10, format="JPEG", rows=1),
    Entry("/b.jpg", 10, "1", error_code=ErrorCode.CORRUPT, error_message='"broken",\nthat is all'),
    Entry(os.fsdecode(b"/c\xff.jpg"), 10, "1", sha256="cd", width=10, height=10, format="JPEG", rows=1),
]
ROWS = unit_rows(2, D)
FACTS = {"format_version": 1, "fingerprint": {"model": "m"}, "d": D, "n": 3, "min_offset": 0, "max_offset": 3}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(tmp_path)


@pytest.fixture
def path(store: Store, tmp_path: Path) -> Path:
    """Of a shard of `ENTRIES`."""
    write_shard(store, STEM, make_entries_table(ENTRIES), [ROWS[:1], ROWS[1:]], FACTS)
    return tmp_path / (STEM + layout.SHARD)


def test_a_shard_is_one_file_and_is_read_back_as_it_was_written(store, path):
    assert list(path.parent.iterdir()) == [path]
    shard = open_shard(store, STEM)
    assert shard.entries.equals(make_entries_table(ENTRIES))
    assert shard.facts == FACTS
    rows = np.empty((2, D), np.float32)
    with EmbeddingReader() as reader:
        reader.read(shard.embeddings, 0, rows)
        assert np.array_equal(rows, ROWS)
        reader.read(shard.embeddings, 1, rows[:1])
        assert np.array_equal(rows[0], ROWS[1])


def test_the_entries_are_read_without_the_embeddings(store, path, monkeypatch):
    os.truncate(path, path.stat().st_size - 4 * D)
    for first_read in (shard_file.FIRST_READ, 100):  # the second one has to read more
        monkeypatch.setattr(shard_file, "FIRST_READ", first_read)
        own = read_shard_entries(store, STEM)
        assert own.entries.equals(make_entries_table(ENTRIES))
        assert own.facts == FACTS


@pytest.mark.parametrize("entries", [[], ENTRIES[1:2]])
def test_a_shard_may_have_no_rows(store, entries):
    write_shard(store, STEM, make_entries_table(entries), [], FACTS)
    shard = open_shard(store, STEM)
    assert shard.embeddings.shape == (0, D)
    assert shard.entries.num_rows == len(entries)


def test_any_flipped_byte_is_found(store, path):
    whole = path.read_bytes()
    for place in {*range(100), *range(100, len(whole), 37), len(whole) - 1}:
        for bit in (0x01, 0x80):
            path.write_bytes(whole[:place] + bytes([whole[place] ^ bit]) + whole[place + 1 :])
            with pytest.raises(DamagedError):
                open_shard(store, STEM)
    path.write_bytes(whole)
    open_shard(store, STEM)


def test_a_shard_that_is_cut_or_grown_is_found(store, path):
    whole = path.read_bytes()
    kept = {0, 1, 79, 80, len(whole) // 3, len(whole) // 2, len(whole) - 4 * D, len(whole) - 2}
    for damaged in [*(whole[:length] for length in kept), whole + b"\0", whole + whole]:
        path.write_bytes(damaged)
        with pytest.raises(DamagedError):
            open_shard(store, STEM)


def test_a_shard_that_is_gone_is_missing(store):
    with pytest.raises(FileNotFoundError):
        open_shard(store, STEM)
