"""Embeddings of images that are not in the list any more: those in a quarantine come back with `undo`."""

from collections.abc import Iterator
from contextlib import contextmanager

from fastdup_ray.common import layout
from fastdup_ray.common.facts import FeatureFacts
from fastdup_ray.features.embedding_blocks import iter_embedding_blocks, renumber
from fastdup_ray.features.lookup import LookupResult
from fastdup_ray.features.shard_file import make_stem, write_shard
from fastdup_ray.storage import Store


@contextmanager
def keep_unlisted(store: Store, unlisted: LookupResult | None, facts: FeatureFacts) -> Iterator[None]:
    """Keep the embeddings of images that are not in the list while the context replaces features.dat, and afterwards.

    They are written as a feature shard, which later runs find as they find all others. The last one of that kind is
    removed at the end, since embeddings of images that are in the list again are read from it.

    Args:
        store: The work_dir.
        unlisted: The images, and where their embeddings are; None if there are none.
        facts: What describes the embeddings of this run, which have the same fingerprint.

    Raises:
        LostEmbeddingsError: A file with embeddings is gone.
    """
    stem = ""
    if unlisted is not None and (n := len(unlisted)):
        (entries,) = renumber([unlisted.entries])
        stem = make_stem(layout.UNLISTED, entries, facts)
        if not store.exists(stem + layout.SHARD):
            facts = facts | {"min_offset": 0, "max_offset": n}
            write_shard(store, stem, entries, iter_embedding_blocks(unlisted), facts)
    yield
    for name in list(store.names(layout.UNLISTED)):
        if name.split(".")[0] != stem and layout.parse_range(name):
            store.remove(name)
    store.remove_if_empty(layout.UNLISTED)
