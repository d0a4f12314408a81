"""Which column of a table has images, and which one names them."""

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa

from fastdup_ray.common.path_lists import normalize_column

IMAGES = ("image", "imagebytes", "img", "bytes", "jpg", "jpeg", "png", "webp", "content", "data")
"""Names of a column of images, the most likely first, as `normalize_column` writes them."""

NAMES = ("path", "filename", "filepath", "imagepath", "imagename", "key", "id", "imageid", "uid", "url")
"""Names of a column with the name of an image, beside one with its bytes."""


@dataclass(frozen=True)
class ImageColumns:
    """Where the rows of a table have their images.

    Attributes:
        image: The column of the bytes.
        is_struct: Whether it is a struct of bytes and path, the feature Image of Hugging Face.
        name: The column of names, for images whose struct has no path; None if there is none.
    """

    image: str
    is_struct: bool
    name: str | None


def find_image_columns(schema: pa.Schema) -> ImageColumns | None:
    """Return the columns of a schema with images; None if there are none."""
    structs = [field.name for field in schema if is_image_struct(field.type)]
    binaries = [field.name for field in schema if is_binary(field.type)]
    found = choose_column(structs, IMAGES) or choose_column(binaries, IMAGES)
    if found is None:
        return None
    return ImageColumns(found, found in structs, find_name_column(schema))


def find_name_column(schema: pa.Schema) -> str | None:
    """Return the column that names the rows of a table, by its name; None if there is none."""
    names = [field.name for field in schema if is_text(field.type) or pa.types.is_integer(field.type)]
    return choose_column(names, NAMES, only=False)


def choose_column(names: Sequence[str], known: Sequence[str], *, only: bool = True) -> str | None:
    """Return the name that is known best; else the only one, if that is enough."""
    by_name = {normalize_column(name): name for name in reversed(names)}
    best = next((by_name[name] for name in known if name in by_name), None)
    return names[0] if best is None and only and len(names) == 1 else best


def is_image_struct(kind: pa.DataType) -> bool:
    """Return whether a type is a struct with bytes."""
    if not pa.types.is_struct(kind) or kind.get_field_index("bytes") < 0:
        return False
    return is_binary(kind.field("bytes").type)


def is_binary(kind: pa.DataType) -> bool:
    """Return whether a type is that of bytes."""
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def is_text(kind: pa.DataType) -> bool:
    """Return whether a type is that of text."""
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))
