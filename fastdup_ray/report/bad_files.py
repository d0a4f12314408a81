"""The bad files of a run, as a page lists them."""

from os import fsdecode
from typing import Any

from fastdup_ray.common import csv_columns, layout
from fastdup_ray.common.layout import FileSet
from fastdup_ray.common.names import escape_non_utf8
from fastdup_ray.outputs.bad_list import describe_code
from fastdup_ray.storage import Store
from fastdup_ray.storage.csv_files import read_csv

MAX_BAD_FILES = 5_000


def list_bad_files(store: Store, files: FileSet) -> dict[str, Any]:
    """Return names, codes and reasons; nothing for features of the user's own, which have no such list."""
    if not store.exists(files.name(layout.BAD_CSV)):
        return {"total": 0, "codes": [], "items": []}
    table = read_csv(store.fetch(files.name(layout.BAD_CSV)), csv_columns.BAD_HEADER)
    counted = table["error_code"].value_counts().to_pylist()
    codes = [(escape_non_utf8(fsdecode(code["values"])), code["counts"]) for code in counted]
    codes.sort(key=lambda code: -code[1])
    rows = table.slice(0, MAX_BAD_FILES).to_pylist()
    items = [[escape_non_utf8(fsdecode(cell)) for cell in row.values()] for row in rows]
    return {
        "total": table.num_rows,
        "codes": [[code, describe_code(code), count] for code, count in codes],
        "items": items,
    }
