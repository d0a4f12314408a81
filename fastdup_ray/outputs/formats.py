"""Columns of the Parquet files that a run writes."""

import pyarrow as pa

from fastdup_ray.analysis.verified_pairs import EVIDENCE, VERIFIED
from fastdup_ray.common import csv_columns
from fastdup_ray.inputs.manifest import ENTRIES, STATISTICS
from fastdup_ray.storage.parquet_files import TableFormat

OF_ENTRIES = ("size", "mtime_or_etag", "sha256", "width", "height", "format", *STATISTICS, "unseen", "taken")
"""Columns that images.parquet takes over from manifest.parquet."""

IMAGES = TableFormat(
    pa.schema(
        [
            ("index", pa.int64()),
            ("filename", pa.large_string()),
            *((name, ENTRIES.field(name).type) for name in OF_ENTRIES),
            ("label", pa.large_string()),
            ("reference", pa.bool_()),
        ]
    ),
    never_null=frozenset(["filename"]),
    optional=frozenset([*STATISTICS, "unseen", "taken", "label", "reference"]),
)

PAIRS = TableFormat(
    pa.schema(
        [
            *zip(csv_columns.PAIRS_HEADER, (pa.large_string(), pa.large_string(), pa.float64()), strict=True),
            *(VERIFIED.schema.field(name) for name in EVIDENCE),
        ]
    ),
    never_null=frozenset(csv_columns.PAIRS_HEADER),
    optional=frozenset(EVIDENCE),
)

COMPONENTS = TableFormat(
    pa.schema(
        zip(
            csv_columns.COMPONENTS_HEADER,
            (pa.int64(), pa.int64(), pa.float64(), pa.int64(), pa.int64(), pa.float64()),
            strict=True,
        )
    ),
    never_null=frozenset(["component_id", "count"]),
)
