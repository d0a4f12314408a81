"""S3 Inventory: the list of a bucket that S3 itself writes once a day or a week, with sizes and ETags.

Format: Amazon S3 User Guide, "Inventory list" (manifest.json, and data files in CSV, ORC or Parquet).
"""

import gzip
import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote_plus

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
from pyarrow import orc

from fastdup_ray import s3 as names
from fastdup_ray.common.records import ImageRef
from fastdup_ray.errors import BadImageError, InputError
from fastdup_ray.inputs.sources import read_entry
from fastdup_ray.s3 import Access, objects

MANIFEST = "manifest.json"

_NEEDED = ("Key", "Size", "ETag")
_CURRENT = ("IsLatest", "IsDeleteMarker")


def is_inventory(uri: str, access: Access) -> bool:
    return names.is_s3(uri) and uri.endswith("/" + MANIFEST) and objects.is_file(uri, access)


def list_inventory(uri: str, access: Access) -> tuple[str, Iterator[ImageRef]]:
    """The bucket that the inventory with the manifest `uri` is of, and its objects in the order of the inventory.

    Of versioned objects the current version. Raises `InputError` where it is no inventory, or cannot be read.
    """
    try:
        manifest = json.loads(read_entry(objects.stat(uri, access), access))
        bucket, kind = manifest["sourceBucket"], manifest["fileFormat"].upper()
        place = manifest["destinationBucket"].rpartition(":")[2]  # it is written as an ARN
        files = [names.make_uri(place, file["key"]) for file in manifest["files"]]
        columns = [column.strip() for column in manifest.get("fileSchema", "").split(",")]
    except BadImageError as error:
        raise InputError(f"Cannot read the inventory {uri!r}: {error.message}.") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise InputError(f"{uri!r} is no manifest of an S3 Inventory.") from None
    rows = (row for file in files for row in _read_rows(file, kind, columns, access) if _is_current(row))
    return bucket, (_make_ref(bucket, row, escaped=kind == "CSV") for row in rows)


def _read_rows(file: str, kind: str, columns: list[str], access: Access) -> Iterator[dict[str, Any]]:
    """By the names of the CSV's columns; Parquet and ORC have the same in snake case."""
    try:
        table = _read_table(read_entry(objects.stat(file, access), access), kind, columns)
    except BadImageError as error:
        raise InputError(f"Cannot read {file!r} of the inventory: {error.message}.") from None
    except (pa.ArrowInvalid, OSError, KeyError) as error:
        raise InputError(f"{file!r} of the inventory cannot be read as {kind}: {str(error).splitlines()[0]}") from None
    table = table.rename_columns([name.replace("_", "").lower() for name in table.column_names])
    wanted = {name.lower(): name for name in (*_NEEDED, *_CURRENT)}
    for name in map(str.lower, _NEEDED):
        if name not in table.column_names:
            raise InputError(f"{file!r} of the inventory has no column {wanted[name]}: let it list sizes and ETags.")
    table = table.select([name for name in wanted if name in table.column_names])
    for batch in table.to_batches(max_chunksize=65_536):
        yield from batch.rename_columns([wanted[name] for name in batch.schema.names]).to_pylist()


def _read_table(data: bytes, kind: str, columns: list[str]) -> pa.Table:
    if kind == "PARQUET":
        return pq.read_table(pa.BufferReader(data))
    if kind == "ORC":
        return orc.ORCFile(pa.BufferReader(data)).read()
    return pa.csv.read_csv(
        pa.BufferReader(gzip.decompress(data)),
        read_options=pa.csv.ReadOptions(column_names=columns),
        parse_options=pa.csv.ParseOptions(newlines_in_values=True),
        convert_options=pa.csv.ConvertOptions(column_types=dict.fromkeys(columns, pa.string())),
    )


def _is_current(row: dict[str, Any]) -> bool:
    latest, deleted = (str(row.get(name)).lower() for name in _CURRENT)
    return latest != "false" and deleted != "true"


def _make_ref(bucket: str, row: dict[str, Any], *, escaped: bool) -> ImageRef:
    key = unquote_plus(row["Key"]) if escaped else row["Key"]
    return ImageRef(names.make_uri(bucket, key), int(row["Size"] or 0), (row["ETag"] or "").strip('"'))
