"""Which columns of a Dataset have the images and name the rows, and from a value to an entry."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from ray.data import Dataset

from fastdup_ray.common.access import Access
from fastdup_ray.common.formatting import format_value
from fastdup_ray.common.locations import to_absolute
from fastdup_ray.common.path_lists import find_column
from fastdup_ray.common.records import ImageRef, LoadedRef
from fastdup_ray.errors import BadImageError, ConfigError, ErrorCode, InputError
from fastdup_ray.extract.encode_pixels import encode_png, to_image
from fastdup_ray.inputs import stat
from fastdup_ray.inputs.image_columns import (
    IMAGES,
    choose_column,
    find_image_columns,
    find_name_column,
    is_binary,
    is_image_struct,
    is_text,
)


@dataclass(frozen=True)
class RowColumns:
    """The columns of a Dataset that matter.

    Attributes:
        image: Bytes of files, structs of bytes and path, paths, or pixels.
        name: What tells the rows apart; None if no column does.
        others: All other columns.
    """

    image: str
    name: str | None
    others: tuple[str, ...]


def choose_columns(dataset: Dataset, image: str | None, name: str | None) -> RowColumns:
    """Return the columns of a Dataset. Ray Data reads a part of it where its schema is not known.

    Args:
        dataset: The Dataset.
        image: Name of the column with the images; None: find it.
        name: Name of the column with names; None: find it, if there is one.

    Raises:
        ConfigError: There is no such column, or it cannot have images or names.
        InputError: The Dataset has no rows.
    """
    schema = _read_schema(dataset)
    for parameter, column in (("image", image), ("name", name)):
        if column is not None and column not in schema.names:
            raise ConfigError(f"Invalid value for {parameter}: {column!r} (the columns are {_list_columns(schema)}).")
    if image is None:
        image = _find_images(schema)
    elif not _can_be_image(schema.field(image).type):
        kind = schema.field(image).type
        raise ConfigError(
            f"Invalid value for image: {image!r} (is a column of {kind}; must be bytes, paths, or pixels)."
        )
    if name is not None and not (is_text(kind := schema.field(name).type) or pa.types.is_integer(kind)):
        raise ConfigError(f"Invalid value for name: {name!r} (is a column of {kind}; must be text or integers).")
    if name is None:
        name = image if is_text(schema.field(image).type) else find_name_column(schema)
    return RowColumns(image, name, tuple(other for other in schema.names if other not in (image, name)))


def _read_schema(dataset: Dataset) -> pa.Schema:
    schema = dataset.schema()
    if schema is None:
        raise InputError("The Dataset has no rows.")
    if isinstance(schema.base_schema, pa.Schema):
        return schema.base_schema
    first: Any = dataset.take_batch(1, batch_format="pyarrow")  # blocks of pandas
    return first.schema


def _find_images(schema: pa.Schema) -> str:
    found = find_image_columns(schema)
    pixels = choose_column([field.name for field in schema if _is_tensor(field.type)], IMAGES)
    if found is not None or pixels is not None:
        return found.image if found is not None else str(pixels)
    try:
        return str(find_column([field.name for field in schema if is_text(field.type)]))
    except ValueError:
        raise ConfigError(
            f"The Dataset has no column of images that is known by its name: name it with image=… "
            f"(the columns are {_list_columns(schema)})."
        ) from None


def _can_be_image(kind: pa.DataType) -> bool:
    return is_binary(kind) or is_image_struct(kind) or is_text(kind) or _is_tensor(kind)


def _is_tensor(kind: pa.DataType) -> bool:
    return isinstance(kind, pa.ExtensionType) and "tensor" in type(kind).__name__.lower()


def _list_columns(schema: pa.Schema) -> str:
    return ", ".join(map(repr, schema.names))


def make_ref(row: int, value: Any, access: Access) -> ImageRef:
    """Return the entry of a value in the column of images.

    Args:
        row: Number of the row, which becomes the name of an image without a path.
        value: Bytes of a file, a struct of bytes and path, a path or URI, pixels as (height, width[, channels]) uint8,
            or None.
        access: How buckets are accessed.

    Raises:
        BadImageError: It is none of these.
    """
    if isinstance(value, dict):
        value = value["bytes"] if value["bytes"] is not None else value.get("path")
    if isinstance(value, str):
        return stat(to_absolute(value), access)
    if isinstance(value, np.ndarray):
        value = _encode(value)
    if not isinstance(value, bytes | None):
        raise BadImageError(ErrorCode.NOT_AN_IMAGE, f"{format_value(value)} is neither bytes, path nor pixels")
    data = value or b""
    return LoadedRef(str(row), len(data), "", data)


def _encode(pixels: Any) -> bytes:
    try:
        return encode_png(to_image(pixels), compress_level=0)
    except ValueError as error:
        raise BadImageError(ErrorCode.UNSUPPORTED, f"pixels are {error}") from None
