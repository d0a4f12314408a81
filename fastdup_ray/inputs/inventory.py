"""S3 Inventory: the list of a bucket that S3 itself writes once a day or a week, with sizes and ETags.

Format: Amazon S3 User Guide, "Inventory list" (manifest.json, and data files in CSV, ORC or Parquet).
"""

import gzip
import json
from collections.abc import Iterator
from typing import Any, TypeAlias
from urllib.parse import unquote_plus

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
from pyarrow import orc

from fastdup_ray import s3
from fastdup_ray.common.access import Access
from fastdup_ray.common.records import ImageRef
from fastdup_ray.errors import BadImageError, InputError
from fastdup_ray.inputs.sources import read_entry
from fastdup_ray.s3 import objects

MANIFEST = "manifest.json"

_NEEDED = ("Key", "Size", "ETag")
_CURRENT = ("IsLatest", "IsDeleteMarker")

_Item: TypeAlias = dict[str, Any]
"""A line of the inventory: column -> value."""


def is_inventory(uri: str, access: Access) -> bool:
    """Return whether a URI is that of the manifest of an inventory, by its name, and exists."""
    return s3.is_s3(uri) and uri.endswith("/" + MANIFEST) and objects.is_file(uri, access)


def list_inventory(uri: str, access: Access) -> tuple[str, Iterator[ImageRef]]:
    """List the objects of an inventory.

    Args:
        uri: the manifest.
        access: how buckets are accessed.

    Returns:
        The bucket that the inventory is of, and its objects in the order of the inventory; of versioned objects the
        current version.

    Raises:
        InputError: where it is no inventory, or cannot be read; also while the objects are listed.
    """
    try:
        manifest = json.loads(read_entry(objects.stat(uri, access), access))
        bucket, kind = manifest["sourceBucket"], manifest["fileFormat"].upper()
        destination = manifest["destinationBucket"].rpartition(":")[2]  # written as an ARN
        files = [s3.make_uri(destination, file["key"]) for file in manifest["files"]]
        columns = [column.strip() for column in manifest.get("fileSchema", "").split(",")]
    except BadImageError as error:
        raise InputError(f"Cannot read the inventory {uri!r}: {error.message}.") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise InputError(f"{uri!r} is not the manifest of an S3 Inventory.") from None
    items = (item for file in files for item in _read_items(file, kind, columns, access) if _is_current(item))
    return bucket, (_make_ref(bucket, item, escaped=kind == "CSV") for item in items)


def _read_items(file: str, kind: str, columns: list[str], access: Access) -> Iterator[_Item]:
    """By the column names of the CSV format; Parquet and ORC have the same in snake case."""
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
            raise InputError(
                f"{file!r} of the inventory has no column {wanted[name]}: configure it to include sizes and ETags."
            )
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


def _is_current(item: _Item) -> bool:
    latest, deleted = (str(item.get(name)).lower() for name in _CURRENT)
    return latest != "false" and deleted != "true"


def _make_ref(bucket: str, item: _Item, *, escaped: bool) -> ImageRef:
    key = unquote_plus(item["Key"]) if escaped else item["Key"]
    return ImageRef(s3.make_uri(bucket, key), int(item["Size"] or 0), (item["ETag"] or "").strip('"'))
