"""The list of entries that could not be read: what of it is told at the end of a run."""

from fastdup_ray.common import layout
from fastdup_ray.common.layout import FileSet
from fastdup_ray.common.names import escape_invisible
from fastdup_ray.storage import Store
from fastdup_ray.storage.tables import escape_names, read_csv

FEW = 9
"""Unreadable entries that are told one by one; of more the file has the reasons."""


def describe_few_bad(store: Store, files: FileSet, count: int) -> list[str]:
    """Return `name: reason` for each of the `count` unreadable entries of `files`; nothing where they are many."""
    if not 0 < count <= FEW or not store.exists(files.name(layout.BAD_CSV)):
        return []
    table = read_csv(store.fetch(files.name(layout.BAD_CSV)), layout.BAD_HEADER)
    names, reasons = (escape_names(table[name]).to_pylist() for name in ("filename", "message"))
    pairs = zip(names, reasons, strict=True)
    return [f"{escape_invisible(name)}: {escape_invisible(reason)}" for name, reason in pairs]
