"""Which run a plan was made from, and whether its rows agree with what that run saw."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa

from fastdup_ray.common import layout
from fastdup_ray.common.access import Access
from fastdup_ray.common.arrays import IntArray
from fastdup_ray.common.layout import FILE_SETS, INDEXED, SCORED, FileSet
from fastdup_ray.common.locations import is_remote
from fastdup_ray.curation.plan import Plan, split_rows
from fastdup_ray.curation.plan_row import ImageFacts, PlanRow
from fastdup_ray.errors import DamagedError, InputError
from fastdup_ray.features import find_names, map_names
from fastdup_ray.outputs.formats import IMAGES
from fastdup_ray.outputs.run_identity import digest_images
from fastdup_ray.storage import Store, open_store
from fastdup_ray.storage.checked_json import fetch_listed
from fastdup_ray.storage.facts import read_summary
from fastdup_ray.storage.parquet_files import map_parquet
from fastdup_ray.storage.tables import map_texts, take_rows

_COLUMNS = ("size", "sha256", "mtime_or_etag", "reference")
_ANY_PLAN = "any_plan=True"
_AGAIN = f"make the plan again with fastdup-ray plan, or accept it with {_ANY_PLAN}"


@dataclass(frozen=True)
class SeenImages:
    """The n images that a run saw, and the facts that identify their files.

    Attributes:
        digest: Of all of them, in hex; another run on the same unchanged images has the same.
        names: (n,) raw bytes.
        table: n rows of images.parquet, with at least the columns size, sha256 and mtime_or_etag.
    """

    digest: str
    names: pa.Array
    table: pa.Table

    def facts(self, rows: Sequence[int] | IntArray) -> list[ImageFacts]:
        """Return the facts that a plan stores about images, in the order of the indices `rows`."""
        table = self.table.select([name for name in _COLUMNS if name in self.table.column_names])
        rows = np.asarray(rows, np.int64)
        names = self.names.take(pa.array(rows)).to_pylist()
        return [
            {
                "size": fact["size"],
                "sha256": fact["sha256"] or "",
                "etag": (fact["mtime_or_etag"] or "") if is_remote(os.fsdecode(name)) else "",
                "reference": bool(fact.get("reference")),
                "run": self.digest,
            }
            for name, fact in zip(names, take_rows(table, rows).to_pylist(), strict=True)
        ]

    def iter_facts(self, plan: Plan) -> Iterator[tuple[PlanRow, ImageFacts | None]]:
        """Yield each row of a plan, and what the run has recorded about its image; None if it did not see it."""
        positions, start = find_names(plan.names, self.names, plan.scratch), 0
        for part in split_rows(plan):
            position = positions[start : start + len(part)]
            facts = iter(self.facts(position[position >= 0]))
            yield from zip(part, (next(facts) if is_seen else None for is_seen in position >= 0), strict=True)
            start += len(part)


def store_of_run(plan: str, work_dir: str | None, access: Access) -> Store:
    """Return the work_dir of the run that a plan belongs to: the one given, else the folder of the plan."""
    return open_store(work_dir or os.path.dirname(plan) or os.curdir, access)


def check_provenance(plan: Plan, source: str, store: Store) -> None:
    """Check that all rows of a plan come from the finished run in a work_dir, or from its last scoring.

    Args:
        plan: The plan.
        source: Its name, for errors.
        store: The work_dir.

    Raises:
        InputError: If a row is of another run, names an image that the run did not see, or differs from what the run
            recorded about it.
    """
    if not plan.runs:
        return
    if "" in plan.runs:
        raise InputError(f"{source!r} does not say which run it was made from: {_AGAIN}.")
    seen = _read_seen(store, plan.runs)
    if seen is None:
        raise InputError(
            f"{source!r} was made from another run than the last one in {store.location!r}: name its run with "
            f"work_dir=…, {_AGAIN}."
        )
    for row, facts in seen.iter_facts(plan):
        if facts is None:
            raise InputError(
                f"{source!r} has {row.filename!r}, which the run in {store.location!r} did not see: remove the row."
            )
        for column, value in facts.items():
            if getattr(row, column) != value:
                raise InputError(
                    f"{source!r} has the {column} {getattr(row, column)!r} for {row.filename!r}, but the run in "
                    f"{store.location!r} recorded {value!r}: remove the row, or {_AGAIN}."
                )


def carry_over(plan: Plan, seen: SeenImages) -> Iterator[PlanRow]:
    """Yield those rows of a plan of another run that are valid for this one, as rows of this one.

    These are the rows of images that this run saw with the same bytes, and whose keepers it saw so, too.
    """
    moved = ((replace(row, run=seen.digest), facts) for row, facts in seen.iter_facts(plan))
    agrees = (
        facts is not None and all(getattr(row, column) == value for column, value in facts.items())
        for row, facts in moved
    )
    valid = np.fromiter(agrees, bool, len(plan))
    valid &= valid[plan.keeper]
    return (replace(row, run=seen.digest) for row, is_valid in zip(plan, valid, strict=True) if is_valid)


def _read_seen(store: Store, digests: set[str]) -> SeenImages | None:
    """Return the images that the run or the scoring in `store` saw, if its digest is the only one of `digests`."""
    try:
        summary = read_summary(store)
        features_csv = summary["features_file"] + ".csv"
        fetch_listed(store, features_csv, summary)
        finished = [files for files in FILE_SETS if store.exists(files.name(layout.IMAGES))]
        files = next((files for files in finished if {digest_images(store, files)} == digests), None)
        if files is None:
            return None
        names, tables = map_names(store, features_csv), [_map_facts(store, INDEXED)]
        if files is SCORED:
            names = map_texts([map_names(store, SCORED.name(layout.FEATURES_CSV)), names], store.scratch)
            tables.insert(0, _map_facts(store, SCORED))
    except (FileNotFoundError, KeyError):
        raise InputError(
            f"No finished run in {store.location!r}: name the plan's run with work_dir=…, or accept "
            f"any plan with {_ANY_PLAN}."
        ) from None
    (digest,) = digests
    seen = SeenImages(digest, names, pa.concat_tables(tables, promote_options="default"))
    if len(seen.names) != seen.table.num_rows:
        raise DamagedError(f"The outputs in {store.location!r} are not of one run: run again.")
    return seen


def _map_facts(store: Store, files: FileSet) -> pa.Table:
    return map_parquet(store.fetch(files.name(layout.IMAGES)), IMAGES.select(_COLUMNS), store.scratch())
