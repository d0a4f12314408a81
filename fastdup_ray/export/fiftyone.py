"""FiftyOne's JSON export of a dataset, which `fiftyone.Dataset.from_json("fiftyone.json")` loads.

Source: https://docs.voxel51.com/api/fiftyone.core.dataset.html (from_json, from_dict): name, media_type and samples; a
sample has filepath, tags, metadata (ImageMetadata) and any other fields, with labels as Classification.
"""

import json
import os
from collections.abc import Iterator
from typing import Any, BinaryIO

import numpy as np
import pyarrow.compute as pc
from PIL import Image

from fastdup_ray.common.arrays import get_index_type
from fastdup_ray.common.names import escape_non_utf8
from fastdup_ray.curation.plan_row import DROP, KEEP
from fastdup_ray.export.export_source import ExportSource
from fastdup_ray.inputs import is_standalone_file
from fastdup_ray.inputs.manifest import STATISTICS
from fastdup_ray.storage.tables import take_rows

FIELDS = ("sha256", "copy_of", "copy_kind", "component_id", "count", "pagerank", "degree", "min_distance")
"""Columns of `RunResult.to_arrow` that become fields of the samples, besides the statistics."""

BLOCK = 10_000
"""Images that become Python objects at a time."""


def write_fiftyone(file: BinaryIO, source: ExportSource) -> int:
    """Write a sample for each image that is a file of its own, tagged keep or drop by the plan, and outlier.

    Returns:
        The number of samples.
    """
    Image.init()
    result, count = source.result, 0
    name = json.dumps(os.path.basename(result.work_dir.rstrip("/")) or "fastdup_ray")
    file.write(f'{{"name": {name}, "media_type": "image", "samples": ['.encode())
    for sample in _samples(source):
        file.write(((",\n" if count else "\n") + json.dumps(sample, ensure_ascii=False)).encode())
        count += 1
    file.write(b"\n]}\n")
    return count


def _samples(source: ExportSource) -> Iterator[dict[str, Any]]:
    run, table, outliers = source.run, source.result.to_arrow(), source.result.outliers["from"]
    place = np.full(len(run.names), -1, get_index_type(len(source.dropped.row)))
    is_of_run = source.dropped.row >= 0
    place[source.dropped.row[is_of_run]] = np.flatnonzero(is_of_run)
    for start in range(0, table.num_rows, BLOCK):
        block, rows = table.slice(start, BLOCK), place[start : start + BLOCK]
        names = run.names.slice(start, BLOCK).to_pylist()
        keepers = take_rows(source.dropped.table, rows[rows >= 0].astype(np.int64))["keeper"].to_pylist()
        keeper_of = dict(zip(np.flatnonzero(rows >= 0).tolist(), keepers, strict=True))
        outlier = pc.is_in(block["filename"], outliers).to_pylist()
        for index, row in enumerate(block.to_pylist()):
            name = os.fsdecode(names[index])
            if is_standalone_file(name, run.access):
                yield _make_sample(name, row, keeper_of.get(index), is_outlier=outlier[index])


def _make_sample(name: str, row: dict[str, Any], keeper: bytes | None, *, is_outlier: bool) -> dict[str, Any]:
    tags = [KEEP if keeper is None else DROP, *(["outlier"] if is_outlier else [])]
    metadata = {
        "_cls": "ImageMetadata",
        "size_bytes": row["size"],
        "mime_type": Image.MIME.get(row["format"] or ""),
        "width": row["width"],
        "height": row["height"],
    }
    sample: dict[str, Any] = {
        "filepath": escape_non_utf8(name),
        "tags": tags,
        "_media_type": "image",
        "metadata": metadata,
    }
    if row.get("label") is not None:
        sample["label"] = {"_cls": "Classification", "label": row["label"]}
    if keeper is not None:
        sample["keeper"] = escape_non_utf8(os.fsdecode(keeper))
    fields = {field: row.get(field) for field in (*FIELDS, *STATISTICS)}
    return sample | {field: value for field, value in fields.items() if value is not None}
