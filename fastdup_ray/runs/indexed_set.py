"""The indexed set of modes 3 and 4: the finished run whose index new images are searched in."""

from collections.abc import Iterator
from contextlib import contextmanager

from fastdup_ray.common import layout
from fastdup_ray.common.facts import FeatureFacts, RunSummary, SearchSummary
from fastdup_ray.errors import DamagedError, InputError
from fastdup_ray.features import check_parts, find_difference
from fastdup_ray.neighbors.search_plan import USABLE_SHARE, estimate_index_bytes
from fastdup_ray.storage import Store
from fastdup_ray.storage.checked_json import check_digest, hash_file
from fastdup_ray.storage.facts import read_summary

RUN_AGAIN = "Run again with run_mode=0 on the indexed images, or with run_mode=2 on their features."


def read_indexed_facts(store: Store) -> RunSummary:
    """Return the summary of the run that made the index, always with `features_file`.

    Raises:
        InputError: There is no finished run with an index.
        DamagedError: summary.json is damaged.
    """
    with add_advice(RUN_AGAIN):
        facts = read_summary(store) if store.exists(layout.SUMMARY) else RunSummary()
    if facts.get("neighbors", SearchSummary()).get("faiss_index") is False:
        raise InputError(
            f"{store.location!r} has so many images that they were searched in partitions, without a "
            f"{layout.FAISS_INDEX}; make one in a copy of it (run_mode=2, faiss_mode='IVF65536,SQ8')."
        )
    if "neighbors" not in facts or not store.exists(layout.FAISS_INDEX):
        raise InputError(
            f"{store.location!r} has no finished run with a {layout.FAISS_INDEX}; make one first, with run_mode=0 or 2."
        )
    return {"features_file": layout.FEATURES, **facts}


def measure_index_bytes(store: Store) -> int:
    """Return the bytes of memory that a node needs to search the stored index."""
    facts = read_indexed_facts(store)
    return int(estimate_index_bytes(facts["neighbors"]["index"], facts["n"], facts["d"]) / USABLE_SHARE)


def check_comparable(indexed: FeatureFacts, facts: FeatureFacts) -> None:
    """Check that new features, as far as their facts are known, can be compared with the indexed ones.

    Raises:
        InputError: They have another width, or are by another model, decoder or bounding box.
    """
    if facts.get("d", indexed["d"]) != indexed["d"]:
        raise InputError(f"The new embeddings have {facts['d']} numbers, the indexed ones {indexed['d']}.")
    ours, theirs = facts.get("fingerprint"), indexed.get("fingerprint")
    if ours is None or theirs is None:
        return  # features of the user's own: only the user knows how they were made
    if name := find_difference(ours, theirs):
        raise InputError(
            f"The new features were made with another {name.replace('_', ' ')} ({ours.get(name)}) than the indexed "
            f"ones ({theirs.get(name)}); make one of them again with that of the other."
        )


def check_indexed(store: Store) -> None:
    """Check that the index, its features and their names are what the run wrote.

    Raises:
        DamagedError: One of them is not, or is missing.
        InputError: There is no finished run with an index.
    """
    facts = read_indexed_facts(store)
    sha256, features = facts["sha256"], facts["features_file"]
    with add_advice(RUN_AGAIN):
        for name in (features, features + ".csv", layout.FAISS_INDEX, layout.MANIFEST):
            if name in sha256:
                check_digest(store, name, sha256[name])
        check_parts(store, features, sha256)
        find_train_similarity(store, sha256)


def find_train_similarity(store: Store, sha256: dict[str, str]) -> dict[str, str]:
    """Map each file that a scoring replaces to the name under which that of the indexed set is there now.

    Args:
        store: The work_dir.
        sha256: Digests of the indexed set's outputs, by name. They tell its files from those of a scoring.

    Raises:
        DamagedError: A file is there under neither of its names.
    """
    current = {}
    for name, backup in layout.TRAIN_BACKUP.items():
        there = (path for path in (backup, name) if store.exists(path))
        match = next((path for path in there if hash_file(store.fetch(path)) == sha256.get(name)), None)
        if match is None:
            raise DamagedError(f"Neither {backup} nor {name} in {store.location!r} is the one of the indexed set.")
        current[name] = match
    return current


@contextmanager
def add_advice(advice: str) -> Iterator[None]:
    """Raise errors about damaged or missing files as `DamagedError`, with `advice` as their last sentence."""
    try:
        yield
    except (DamagedError, FileNotFoundError) as error:
        raise DamagedError(f"{error} {advice}") from None
