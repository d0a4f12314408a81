"""summary.json, and the outputs whose digests it has: written last, so that it says that all others are complete."""

import os

from fastdup_ray.common import layout
from fastdup_ray.common.facts import RunSummary
from fastdup_ray.common.layout import INDEXED, SCORED, TRANSFORMED, FileSet
from fastdup_ray.storage import Store
from fastdup_ray.storage.checked_json import hash_file, write_json

FEATURE_FILES = (
    *(layout.FEATURES, layout.FEATURES_INDEX, layout.FEATURES_CSV),
    *(layout.BAD_CSV, layout.BAD_CSV_TWIN, layout.MANIFEST),
)

DIGESTED = (
    *FEATURE_FILES,
    layout.SIMILARITY_CSV,
    layout.OUTLIERS_CSV,
    layout.FAISS_INDEX,
    layout.COMPONENTS_INFO_CSV,
    layout.COMPONENTS_CSV,
    layout.IMAGES,
    layout.SIMILARITY,
    layout.COMPONENTS,
    layout.EXACT_COPIES_CSV,
    layout.VERIFIED,
    layout.VERIFIED_CSV,
    layout.CHANGES_CSV,
    layout.INVARIANT_CSV,
    layout.LABEL_CONFLICTS_CSV,
    layout.CONFIG,
)
"""Files whose digests are in summary.json."""

FILES_AFTER_FEATURES = (
    *(name for name in DIGESTED if name not in (*FEATURE_FILES, layout.CONFIG)),
    layout.REPORT,
)
"""Files computed from the features: they are removed when the features are replaced. Kept neighbors are not among them:
they say which features they are of, and a search of others takes over those of equal embeddings only."""

SCORING_FILES = (
    *(SCORED.name(name) for name in (*FEATURE_FILES, layout.OUTLIERS_CSV, layout.IMAGES, layout.LABEL_CONFLICTS_CSV)),
    *(
        SCORED.name(layout.EXACT_COPIES_CSV),
        SCORED.name(layout.CONFIG),
        SCORED.name(os.path.dirname(layout.REPORT)),
        layout.LEAKAGE_CSV,
        layout.TRAIN_SIMILARITY,
        SCORED.name(layout.FEATURE_PARTS),
    ),
)
"""Files of a scoring: they are removed when the indexed set is replaced."""

SCORING_MARKS = (SCORED.name(layout.SUMMARY), SCORED.name(layout.SHARDS), layout.TRAIN_SIMILARITY_CSV)
"""Files of a scoring that only a scoring writes."""


def write_summary(store: Store, summary: RunSummary, files: FileSet = INDEXED) -> RunSummary:
    """Write summary.json with the digests of all other outputs.

    After a run on an indexed set, the files of a scoring against the earlier one are removed.

    Args:
        store: The work_dir.
        summary: What to write. `sha256` has digests that are known already: a large file is not read for them.
        files: The file set that the summary is about.

    Returns:
        The summary with all digests.
    """
    own = summary.get("features_file", layout.FEATURES)
    more = {INDEXED: (own, own + ".csv"), SCORED: layout.TRAIN_BACKUP, TRANSFORMED: ()}
    names = {*map(files.name, DIGESTED), *more[files]}
    known = summary.get("sha256", {})
    there = (name for name in sorted(names) if name in known or store.exists(name))
    summary = summary | {"sha256": {name: known.get(name) or hash_file(store.fetch(name)) for name in there}}
    write_json(store, files.name(layout.SUMMARY), summary)
    if files is INDEXED:
        remove_scoring(store)
    return summary


def was_scored(store: Store) -> bool:
    """Return whether the files that begin with `test_` are of a scoring, finished or not."""
    return any(store.exists(mark) for mark in SCORING_MARKS)


def remove_scoring(store: Store) -> None:
    """Remove the files of a scoring, finished or not; keep files of the user that only have such names."""
    if was_scored(store):
        for name in (*SCORING_FILES, *SCORING_MARKS):
            store.remove(name)


def remove_transforms(store: Store) -> None:
    """Remove the files of a run with `invariant`; keep files of the user that only have such names."""
    if store.exists(layout.INVARIANT_CSV) or store.exists(TRANSFORMED.name(layout.SUMMARY)):
        for name in (*FEATURE_FILES, layout.FEATURE_PARTS, layout.SHARDS, layout.SUMMARY):
            store.remove(TRANSFORMED.name(name))
        store.remove(layout.INVARIANT_CSV)
