"""The list of unreadable entries, as the end of a run shows it."""

from fastdup_ray.common import csv_columns, layout
from fastdup_ray.common.layout import FileSet
from fastdup_ray.common.names import escape_invisible
from fastdup_ray.storage import Store
from fastdup_ray.storage.tables import escape_names, read_csv

FEW = 9
"""Upper limit of unreadable entries that are shown one by one."""


def describe_few_bad(store: Store, files: FileSet, count: int) -> list[str]:
    """Return `name: reason` for each of the `count` unreadable entries; nothing if there are more than `FEW`."""
    if not 0 < count <= FEW or not store.exists(files.name(layout.BAD_CSV)):
        return []
    table = read_csv(store.fetch(files.name(layout.BAD_CSV)), csv_columns.BAD_HEADER)
    names, reasons = (escape_names(table[name]).to_pylist() for name in ("filename", "message"))
    pairs = zip(names, reasons, strict=True)
    return [f"{escape_invisible(name)}: {escape_invisible(reason)}" for name, reason in pairs]
