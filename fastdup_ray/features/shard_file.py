"""Feature shards: what one extract actor makes of a part of the list, in one file, which is one request to a bucket.

A preamble of fixed size is followed by a *head* (the facts as JSON and the entries as a Parquet file) and by the
embeddings. So the entries can be read without the embeddings.
"""

import hashlib
import json
import os
import struct
from collections.abc import Callable, Iterable
from functools import partial

import pyarrow as pa
import pyarrow.parquet as pq

from fastdup_ray.common import layout
from fastdup_ray.common.arrays import FloatArray
from fastdup_ray.common.facts import FeatureFacts
from fastdup_ray.errors import DamagedError
from fastdup_ray.features.files import EntrySet, FeatureSet, count_embeddings, write_embedding_blocks
from fastdup_ray.features.stored_embeddings import StoredEmbeddings
from fastdup_ray.inputs.manifest import KEY, add_missing_columns
from fastdup_ray.storage import Store
from fastdup_ray.storage.facts import check_facts
from fastdup_ray.storage.feature_parts import FeaturePart

_PREAMBLE = struct.Struct("<8sQQ32s32s")
"""Magic number, bytes of the facts, bytes of the entries, SHA-256 of both together, SHA-256 of the embeddings."""

_MAGIC = b"FDRSHARD"

FIRST_READ = 64 << 10
"""Bytes that are read for the entries: most shards have at most 512 images, which take half of that."""

LARGEST_HEAD = 1 << 30
"""Bytes of the entries that no shard comes near."""


def make_stem(folder: str, entries: pa.Table, facts: FeatureFacts) -> str:
    """Return a stem in a folder that is named after the entries and the fingerprint of their embeddings."""
    text = json.dumps([entries.select(KEY).to_pydict(), facts.get("fingerprint")], sort_keys=True)
    digest = hashlib.sha256(text.encode()).hexdigest()[:12]
    return f"{folder}/{layout.format_range_stem(0, len(entries))}-{digest}"


def write_shard(
    store: Store, stem: str, entries: pa.Table, blocks: Iterable[FloatArray], facts: FeatureFacts, *, new: bool = True
) -> FeaturePart:
    """Write a feature shard.

    Args:
        store: The work_dir.
        stem: Name of the file without its suffix.
        entries: m rows with the columns `ENTRIES`.
        blocks: The embeddings of these in order, as (b, d) float32 arrays.
        facts: What describes the shard: min_offset, max_offset, d, fingerprint and more.
        new: No file has that name, see `Store.create`.

    Returns:
        The embeddings in the file.
    """
    sink = pa.BufferOutputStream()
    pq.write_table(entries, sink, compression="zstd", store_schema=False)
    described = json.dumps(facts).encode()
    sizes = len(described), sink.tell()
    head = described + sink.getvalue().to_pybytes()
    with store.create(stem + layout.SHARD, new=new) as path, open(path, "wb") as file:
        file.write(bytes(_PREAMBLE.size))
        file.write(head)
        digest = write_embedding_blocks(file, blocks)
        file.seek(0)
        file.write(_PREAMBLE.pack(_MAGIC, *sizes, hashlib.sha256(head).digest(), bytes.fromhex(digest)))
    return FeaturePart(stem + layout.SHARD, _PREAMBLE.size + len(head), count_embeddings(entries), digest)


def open_shard(store: Store, stem: str) -> FeatureSet:
    """Open a feature shard, and check its digests.

    Args:
        store: The work_dir.
        stem: Name of the file without its suffix.

    Raises:
        DamagedError: The file was changed, or written by another version.
        FileNotFoundError: There is no such file.
    """
    name = stem + layout.SHARD
    path = store.fetch(name)
    with open(path, "rb") as file:
        own, sha256, offset = _read_head(store, name, lambda start, size: os.pread(file.fileno(), size, start))
    shape = count_embeddings(own.entries), own.facts["d"]
    return FeatureSet(own.entries, own.facts, StoredEmbeddings.check(store, name, sha256, shape, offset, path))


def read_shard_entries(store: Store, stem: str) -> EntrySet:
    """Read the entries of a feature shard as `open_shard` does, but neither read nor check its embeddings."""
    name = stem + layout.SHARD
    return _read_head(store, name, partial(store.read_up_to, name))[0]


def _read_head(store: Store, name: str, read: Callable[[int, int], bytes]) -> tuple[EntrySet, str, int]:
    """Return the entries of a shard, the SHA-256 of its embeddings in hex, and where these begin.

    read: returns the bytes from a start on, at most as many as asked for.
    """
    content = read(0, FIRST_READ)
    try:
        magic, size_of_facts, size, sha256, sha256_of_embeddings = _PREAMBLE.unpack_from(content)
        offset = _PREAMBLE.size + size_of_facts + size
        if magic != _MAGIC or offset > LARGEST_HEAD:
            raise ValueError
        if offset > len(content):
            content += read(len(content), offset - len(content))
        head = content[_PREAMBLE.size : offset]
        if hashlib.sha256(head).digest() != sha256:
            raise ValueError
    except (struct.error, ValueError):
        raise DamagedError(f"{name} in {store.location!r} is damaged (its checksum differs).") from None
    try:
        facts = check_facts(store, name, json.loads(head[:size_of_facts]))
        table = pq.read_table(pa.BufferReader(head[size_of_facts:]))
        return EntrySet(add_missing_columns(table), facts), sha256_of_embeddings.hex(), offset
    except (KeyError, ValueError, TypeError, pa.ArrowException):
        raise DamagedError(f"{name} was not written by this version of fastdup_ray.") from None
