"""Finished outputs that are made by hand, for tests of pages: as many pictures, groups and odd names as they like."""

import hashlib
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from fastdup_ray.analysis.verified_pairs import BOX, EVIDENCE, MATRIX, VERIFIED
from fastdup_ray.common import csv_columns, layout
from fastdup_ray.common.relations import CONFIRMED
from fastdup_ray.outputs.formats import IMAGES
from fastdup_ray.outputs.summary import write_summary
from fastdup_ray.storage import Store, open_store
from fastdup_ray.storage.checked_json import read_json
from fastdup_ray.storage.csv_files import write_csv
from fastdup_ray.storage.parquet_files import read_parquet, write_parquet
from fastdup_ray.storage.tables import encode_names, escape_names
from tests.helpers.embeddings import normalized

D = 16
CONFIG = {"input_dir": "/in<put>", "threshold": 0.85, "ccthreshold": 0.96, "distance": "cosine"}

Rows = Sequence[tuple[int, int, float]]


def changed(row: int) -> int:
    """Nanoseconds since 1970: when the file of a row was changed, as the outputs say; a minute after the row before."""
    return 1_700_000_000_000_000_000 + 60_000_000_000 * row


def write_pairs(store: Store, name: str, names: pa.Array, rows: Rows) -> None:
    columns = [names.take(pa.array([row[end] for row in rows], pa.int64())) for end in (0, 1)]
    write_csv(store, name, csv_columns.PAIRS_HEADER, [*columns, np.array([row[2] for row in rows], np.float64)])


def group_rows(component: Sequence[int], spread: float = 0.1, seed: int = 0) -> np.ndarray:
    """(n, D) rows of unit length: those of one component near each other."""
    rng = np.random.default_rng(seed)
    middle = normalized(rng.standard_normal((max(component) + 1, D)))
    return normalized(middle[np.asarray(component)] + spread * rng.standard_normal((len(component), D)) / np.sqrt(D))


def write_finished(
    location: Path | str,
    paths: Sequence[str],
    *,
    pairs: Rows = (),
    outliers: Rows = (),
    component: Sequence[int],
    copies: Sequence[tuple[int, int, str]] = (),
    bad: Sequence[tuple[str, str, str]] = (),
    changes: Sequence[tuple[str, int | None, str, str | None, float | None]] | None = None,
    features: np.ndarray | None = None,
    summary: dict[str, Any] | None = None,
    config: dict[str, Any] | None = None,
    **columns: list[Any],
) -> Store:
    """A work_dir as a run on `paths` leaves it; columns: of images.parquet, in the place of what the files say."""
    store, n, names = open_store(str(location)), len(paths), encode_names(paths)
    store.prepare()
    features = group_rows(component) if features is None else features
    with store.create(layout.FEATURES) as path:
        features.astype("<f4").tofile(path)
    write_csv(store, layout.FEATURES_CSV, csv_columns.FEATURES_HEADER, [np.arange(n), names])
    write_pairs(store, layout.SIMILARITY_CSV, names, pairs)
    write_pairs(store, layout.OUTLIERS_CSV, names, outliers)
    write_csv(
        store, layout.BAD_CSV, csv_columns.BAD_HEADER, [encode_names(row[place] for row in bad) for place in range(3)]
    )
    kinds = pa.array([kind for _, _, kind in copies], pa.string())
    ends = [names.take(pa.array([row[end] for row in copies], pa.int64())) for end in (0, 1)]
    write_csv(store, layout.EXACT_COPIES_CSV, csv_columns.EXACT_COPIES_HEADER, [*ends, kinds])
    contents = [Path(path).read_bytes() if Path(path).exists() else path.encode("utf-8", "replace") for path in paths]
    facts = {
        "size": [len(content) for content in contents],
        "mtime_or_etag": [str(changed(row)) for row in range(n)],
        "sha256": [hashlib.sha256(content).hexdigest() for content in contents],
        "width": [60] * n,
        "height": [40] * n,
        "format": ["JPEG"] * n,
    }
    images = {"index": np.arange(n), "filename": escape_names(names)} | facts | columns
    write_parquet(store, layout.IMAGES, pa.table(images))
    count = np.bincount(component)[np.asarray(component)]
    least = pa.array(np.where(count > 1, 0.97, np.nan), from_pandas=True)
    nothing = pa.nulls(n, pa.float64())
    table = pa.table(
        [np.arange(n), np.asarray(component), nothing, nothing, count, least], csv_columns.COMPONENTS_HEADER
    )
    write_parquet(store, layout.COMPONENTS, table)
    if changes is not None:
        cells = list(zip(*changes, strict=True)) if changes else [[]] * 5
        kinds = (pa.string(), pa.int64(), None, None, pa.float64())
        arrays = [
            encode_names(cell or "" for cell in column) if kind is None else pa.array(column, kind)
            for column, kind in zip(cells, kinds, strict=True)
        ]
        write_csv(store, layout.CHANGES_CSV, csv_columns.CHANGES_HEADER, arrays)
    with store.create(layout.CONFIG) as path:
        path.write_text(json.dumps(CONFIG | (config or {})))
    counts = {
        "entries": n + len(bad),
        "images": n,
        "bad": len(bad),
        "exact_copies": len(copies),
        "same_bytes": sum(kind == "bytes" for _, _, kind in copies),
        "same_pixels": sum(kind == "pixels" for _, _, kind in copies),
        "components": int((np.bincount(component) > 1).sum()),
        "near_copies": 3,
        "outliers": len(outliers),
        "pairs": len(pairs),
    }
    told = {
        "version": "0.1.0",
        "d": D,
        "features_file": layout.FEATURES,
        "counts": counts,
        "neighbors": {"index": "Flat", "recall": 0.9875},
        "seconds": {"list": 0.5, "features": 12.25},
    }
    write_summary(store, told | (summary or {}))
    return store


def write_verified(store: Store, rows: Sequence[dict[str, Any]]) -> None:
    """Let a run of `write_finished` have looked at pairs: from, to and relation of each, and what differs from this."""
    usual = {"similarity": 0.9, "cover_from": 1.0, "cover_to": 1.0, "difference": 0.0} | dict.fromkeys(BOX, 0.0)
    usual |= dict(zip(MATRIX, (1.0, 0.0, 0.0, 0.0, 1.0, 0.0), strict=True))
    table = pa.Table.from_pylist(
        [usual | {"contents": f"{place}"} | row for place, row in enumerate(rows)], VERIFIED.schema
    )
    table = table.sort_by([("from", "ascending"), ("to", "ascending")])
    write_parquet(store, layout.VERIFIED, table)
    names = encode_names(read_parquet(store.fetch(layout.IMAGES), IMAGES)["filename"].to_pylist())
    config = json.loads(store.fetch(layout.CONFIG).read_text())
    shown = [
        row for row in table.to_pylist() if row["similarity"] <= config["threshold"] and row["relation"] in CONFIRMED
    ]
    shown.sort(key=lambda row: -row["similarity"])
    ends = [names.take(pa.array([row[end] for row in shown], pa.int64())) for end in ("from", "to")]
    columns = [
        pa.array([row[name] for row in shown], VERIFIED.schema.field(name).type) for name in ("similarity", *EVIDENCE)
    ]
    write_csv(store, layout.VERIFIED_CSV, csv_columns.VERIFIED_HEADER, [*ends, *columns])
    with store.create(layout.CONFIG) as path:
        path.write_text(json.dumps(config | {"verify": "candidates"}))
    summary = read_json(store, layout.SUMMARY)
    write_summary(store, {name: fact for name, fact in summary.items() if name != "sha256"})


class Made:
    """A page, and the JSON in it."""

    def __init__(self, path: Path):
        self.source = path.read_text(encoding="utf-8")
        self.data = self._json("data")
        self.thumbnails = self._json("thumbnails")
        self.lists = self.data["lists"]

    def _json(self, name):
        return json.loads(re.search(rf'<script type="application/json" id="{name}">(.*?)</script>', self.source)[1])

    def rows(self, item):
        return [self.data["pictures"]["row"][number] for number in item["members"]]

    def of(self, row, column):
        found = self.data["pictures"]
        return found[column][found["row"].index(row)]
