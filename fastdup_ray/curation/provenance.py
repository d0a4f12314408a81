"""Which run a plan was made from, and whether its rows are what that run saw."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa

from fastdup_ray.common import layout
from fastdup_ray.common.layout import FILE_SETS, INDEXED, SCORED, FileSet
from fastdup_ray.curation.plan_file import PlanRow
from fastdup_ray.errors import DamagedError, InputError
from fastdup_ray.features import map_names
from fastdup_ray.outputs.formats import IMAGES
from fastdup_ray.outputs.run_digest import digest_images
from fastdup_ray.s3 import Access, is_s3
from fastdup_ray.storage import Store, open_store
from fastdup_ray.storage.checked_json import fetch_listed
from fastdup_ray.storage.facts import read_summary
from fastdup_ray.storage.tables import encode_names, find_positions, read_parquet

_FACTS = ("size", "sha256", "mtime_or_etag", "reference")
_AGAIN = "make it again with fastdup-ray plan, or give --any-plan (in Python any_plan=True)"


@dataclass(frozen=True)
class SeenImages:
    """The n images that a run saw, and by what each is known again.

    Attributes:
        digest: Of them all, in hex; another run on the same unchanged images has the same.
        names: (n,) raw bytes.
        table: Columns of images.parquet, `_FACTS` among them.
    """

    digest: str
    names: pa.Array
    table: pa.Table

    def facts(self, rows: Sequence[int]) -> list[dict[str, Any]]:
        """Return for each of `rows` the members of its `PlanRow` by which it is known again, and the run."""
        table = self.table.select([name for name in _FACTS if name in self.table.column_names])
        names = self.names.take(pa.array(rows, pa.int64())).to_pylist()
        return [
            {
                "size": fact["size"],
                "sha256": fact["sha256"] or "",
                "etag": (fact["mtime_or_etag"] or "") if is_s3(os.fsdecode(name)) else "",
                "reference": bool(fact.get("reference")),
                "run": self.digest,
            }
            for name, fact in zip(names, table.take(pa.array(rows, pa.int64())).to_pylist(), strict=True)
        ]

    def facts_by_name(self, names: Sequence[str]) -> dict[str, dict[str, Any]]:
        """Return the same by name, of those of `names` that it saw."""
        places = find_positions(encode_names(names), self.names)
        seen = np.flatnonzero(places >= 0)
        return dict(zip([names[place] for place in seen], self.facts(places[seen].tolist()), strict=True))


def store_of_run(plan: str, work_dir: str | None, access: Access) -> Store:
    """Return the work_dir of the run that `plan` belongs to: the one given, or the folder that the plan is in."""
    return open_store(work_dir or os.path.dirname(plan) or os.curdir, access)


def check_provenance(rows: Sequence[PlanRow], plan: str, store: Store) -> None:
    """See that all rows of a plan are of the finished run in `store`, or of the last scoring there.

    Raises:
        InputError: with one line, where a row is of another run, names an image that the run did not see, or says
            something else of it than the run recorded.
    """
    if not rows:
        return
    if any(not row.run for row in rows):
        raise InputError(f"{plan!r} does not say which run it was made from: {_AGAIN}.")
    seen = _read_seen(store, {row.run for row in rows})
    if seen is None:
        raise InputError(
            f"{plan!r} was made from another run than the last one in {store.location!r}: name the right one with "
            f"--work-dir, {_AGAIN}."
        )
    facts = seen.facts_by_name([row.filename for row in rows])
    for row in rows:
        if row.filename not in facts:
            raise InputError(
                f"{plan!r} names {row.filename!r}, which the run in {store.location!r} did not see: take its row away."
            )
        for column, value in facts[row.filename].items():
            if getattr(row, column) != value:
                raise InputError(
                    f"{plan!r}: {column}={getattr(row, column)!r} of {row.filename!r} is not what the run in "
                    f"{store.location!r} recorded ({value!r}): take its row away, or {_AGAIN}."
                )


def carry_over(rows: Sequence[PlanRow], seen: SeenImages) -> list[PlanRow]:
    """Return those rows of a plan of another run that hold for this one, as rows of this one.

    They are of images that this run saw with the same bytes, and whose keeper it did, too.
    """
    facts = seen.facts_by_name([row.filename for row in rows])
    carried = {row.filename: replace(row, run=seen.digest) for row in rows if row.filename in facts}
    held = {
        name: row
        for name, row in carried.items()
        if all(getattr(row, column) == value for column, value in facts[name].items())
    }
    return [row for row in held.values() if not row.is_dropped or row.keeper in held]


def _read_seen(store: Store, digests: set[str]) -> SeenImages | None:
    """Return the images that the run or the scoring in `store` saw, where its digest is the only one of `digests`."""
    try:
        summary = read_summary(store)
        features_csv = summary["features_file"] + ".csv"
        fetch_listed(store, features_csv, summary)
        known = [files for files in FILE_SETS if store.exists(files.name(layout.IMAGES))]
        files = next((files for files in known if {digest_images(store, files)} == digests), None)
        if files is None:
            return None
        names = [map_names(store, features_csv)]
        tables = [_read_facts(store, INDEXED)]
        if files is SCORED:
            names.insert(0, map_names(store, SCORED.name(layout.FEATURES_CSV)))
            tables.insert(0, _read_facts(store, SCORED))
    except (FileNotFoundError, KeyError):
        raise InputError(
            f"No finished run in {store.location!r}: name the one that the plan was made from with --work-dir, or give "
            "--any-plan (in Python any_plan=True)."
        ) from None
    seen = SeenImages(*digests, pa.concat_arrays(names), pa.concat_tables(tables, promote_options="default"))
    if len(seen.names) != seen.table.num_rows:
        raise DamagedError(f"The outputs in {store.location!r} are not of one run: run again.")
    return seen


def _read_facts(store: Store, files: FileSet) -> pa.Table:
    return read_parquet(store.fetch(files.name(layout.IMAGES)), IMAGES.select(_FACTS))
