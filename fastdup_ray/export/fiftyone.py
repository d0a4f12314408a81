"""A data set as FiftyOne exports it to JSON: `fiftyone.Dataset.from_json("fiftyone.json")` loads it.

Source: https://docs.voxel51.com/api/fiftyone.core.dataset.html (from_json, from_dict): name, media_type and samples; a
sample has filepath, tags, metadata (ImageMetadata) and fields of any names, labels as Classification.
"""

import json
import os
from collections.abc import Iterator
from typing import Any, BinaryIO

import pyarrow.compute as pc
from PIL import Image

from fastdup_ray.common.names import escape_non_utf8
from fastdup_ray.curation.finished_run import FinishedRun
from fastdup_ray.curation.plan_file import PlanRow
from fastdup_ray.inputs import is_standalone_file
from fastdup_ray.inputs.manifest import STATISTICS
from fastdup_ray.result import RunResult

FIELDS = ("sha256", "copy_of", "copy_kind", "component_id", "count", "pagerank", "degree", "min_distance")
"""Columns of the result that become fields of the samples, beside the statistics."""

ROWS = 10_000
"""Samples that are made at a time."""


def write_fiftyone(file: BinaryIO, run: FinishedRun, result: RunResult, plan: list[PlanRow], _: bool) -> int:
    """Write images that are files of their own; tags: keep or drop, as the plan says, and outlier."""
    Image.init()
    count = 0
    name = json.dumps(os.path.basename(result.work_dir.rstrip("/")) or "fastdup_ray")
    file.write(f'{{"name": {name}, "media_type": "image", "samples": ['.encode())
    for sample in _samples(run, result, {row.filename: row for row in plan}):
        file.write(((",\n" if count else "\n") + json.dumps(sample, ensure_ascii=False)).encode())
        count += 1
    file.write(b"\n]}\n")
    return count


def _samples(run: FinishedRun, result: RunResult, plan: dict[str, PlanRow]) -> Iterator[dict[str, Any]]:
    table = result.to_arrow()
    outlier = pc.is_in(table["filename"], result.outliers["from"]).to_pylist()
    for start in range(0, table.num_rows, ROWS):
        names = run.names.slice(start, ROWS).to_pylist()
        for place, fact in enumerate(table.slice(start, ROWS).to_pylist()):
            name = os.fsdecode(names[place])
            if is_standalone_file(name, run.access):
                yield _sample(name, fact, plan.get(name), outlier[start + place])


def _sample(name: str, fact: dict[str, Any], planned: PlanRow | None, is_outlier: bool) -> dict[str, Any]:
    tags = [planned.action if planned else "keep", *(["outlier"] if is_outlier else [])]
    metadata = {
        "_cls": "ImageMetadata",
        "size_bytes": fact["size"],
        "mime_type": Image.MIME.get(fact["format"] or ""),
        "width": fact["width"],
        "height": fact["height"],
    }
    sample: dict[str, Any] = {
        "filepath": escape_non_utf8(name),
        "tags": tags,
        "_media_type": "image",
        "metadata": metadata,
    }
    if fact.get("label") is not None:
        sample["label"] = {"_cls": "Classification", "label": fact["label"]}
    if planned and planned.keeper:
        sample["keeper"] = escape_non_utf8(planned.keeper)
    fields = {field: fact.get(field) for field in (*FIELDS, *STATISTICS)}
    return sample | {field: value for field, value in fields.items() if value is not None}
