"""What the tests of plans share: files that are as good as pictures, plans for them, and what became of them."""

import hashlib
import io
import os
import tempfile
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from fastdup_ray.common import csv_columns, layout
from fastdup_ray.curation.plan import Plan
from fastdup_ray.curation.plan_file import write_plan
from fastdup_ray.curation.plan_json import iter_json, read_json_plan
from fastdup_ray.curation.plan_row import PlanRow
from fastdup_ray.outputs.formats import IMAGES
from fastdup_ray.outputs.run_identity import digest_images
from fastdup_ray.storage import Store, open_store
from fastdup_ray.storage.checked_json import hash_file, write_json
from fastdup_ray.storage.csv_files import write_csv
from fastdup_ray.storage.parquet_files import write_parquet
from fastdup_ray.storage.tables import encode_names, escape_names


def row(path: Path | str, keeper: Path | str = "", *, reference: bool = False) -> PlanRow:
    """Of a file as it is now: dropped where a keeper is given."""
    data = Path(path).read_bytes()
    digest = hashlib.sha256(data).hexdigest()
    action, similarity = ("drop", 0.999) if keeper else ("keep", None)
    keeper = os.fspath(keeper)
    return PlanRow(os.fspath(path), action, 0, keeper, similarity, "bytes", "why", len(data), digest, "", reference)


def write(folder: Path, rows: Iterable[PlanRow], name: str = "plan.csv") -> Path:
    """The plan of a run that saw the images as the rows say; the folder is its work_dir."""
    store, rows = open_store(str(folder)), list(rows)
    store.prepare()
    write_run(store, rows)
    digest = digest_images(store)
    write_plan(store, name, [replace(row, run=digest) for row in rows])
    return folder / name


def plan_to_json(rows: Iterable[PlanRow]) -> str:
    return "".join(iter_json(rows))


def plan_from_json(text: str, source: str = "the plan") -> Plan:
    return read_json_plan(io.BytesIO(text.encode()), source, tempfile.TemporaryFile)


def write_run(store: Store, rows: Sequence[PlanRow]) -> None:
    """As much of a finished run as `apply` looks at."""
    names = encode_names(row.filename for row in rows)
    write_csv(store, layout.FEATURES_CSV, csv_columns.FEATURES_HEADER, [np.arange(len(rows)), names])
    facts = {
        "size": pa.array([row.size for row in rows], pa.int64()),
        "mtime_or_etag": pa.array([row.etag or "1" for row in rows], pa.string()),
        "sha256": pa.array([row.sha256 or None for row in rows], pa.string()),
        "reference": pa.array([row.reference for row in rows], pa.bool_()),
    }
    facts |= {"filename": escape_names(names)}
    facts |= {
        name: pa.nulls(len(rows), IMAGES.schema.field(name).type) for name in sorted({*IMAGES.schema.names} - {*facts})
    }
    write_parquet(store, layout.IMAGES, pa.table(facts))
    described = {
        "features_file": layout.FEATURES,
        "d": 576,
        "counts": {},
        "sha256": {name: hash_file(store.fetch(name)) for name in (layout.FEATURES_CSV, layout.IMAGES)},
    }
    write_json(store, layout.SUMMARY, described)


def fill(folder: Path, names: Iterable[str], size: int = 3000) -> list[Path]:
    """Files of random bytes, no two alike."""
    paths = [folder / name for name in names]
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(os.urandom(size))
    return paths


def contents(*folders: Path) -> Counter[bytes]:
    """How often each content is there, in whole files."""
    found = Counter()
    for folder in folders:
        for place, _, names in os.walk(os.fsencode(folder)):
            for name in names:
                if not name.endswith(b".part"):
                    with open(os.path.join(place, name), "rb") as file:
                        found[file.read()] += 1
    return found


def state(folder: Path) -> dict[str, bytes]:
    """All files below, by their names from the folder on."""
    found = {}
    for place, _, names in os.walk(os.fsencode(folder)):
        for name in names:
            path = os.path.join(place, name)
            with open(path, "rb") as file:
                found[os.fsdecode(os.path.relpath(path, os.fsencode(folder)))] = file.read()
    return found
