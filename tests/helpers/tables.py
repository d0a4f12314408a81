"""Files with images in their rows."""

import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from fastdup_ray import RunConfig
from fastdup_ray.common.records import ImageRef
from fastdup_ray.inputs import list_images
from tests.helpers.images import cloudy, encode

IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
"""The type of the feature Image of Hugging Face."""


def picture(seed: int) -> bytes:
    return encode(cloudy(seed), "JPEG", quality=90)


def make_table(rows: int, **columns: pa.Array) -> pa.Table:
    """Images as the feature Image of Hugging Face has them, unless other columns are given."""
    images = [{"bytes": picture(seed), "path": f"folder/{seed}.jpg"} for seed in range(rows)]
    return pa.table(columns or {"image": pa.array(images, IMAGE), "label": list(range(rows))})


def write_parquet(path: Path, /, rows: int = 50, group: int = 20, **columns: pa.Array) -> Path:
    pq.write_table(make_table(rows, **columns), path, row_group_size=group)
    return path


def write_arrow(
    path: Path, /, rows: int = 50, batch: int = 20, new=pa.ipc.new_stream, options=None, **columns: pa.Array
) -> Path:
    content = make_table(rows, **columns)
    with new(str(path), content.schema, options=options) as writer:
        writer.write_table(content, max_chunksize=batch)
    return path


def listed(*locations: object, **parameters: object) -> list[ImageRef]:
    inputs = [os.fspath(location) for location in locations]
    return list(list_images(RunConfig.of(input_dir=inputs, work_dir="unused", **parameters)))
