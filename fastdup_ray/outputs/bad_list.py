"""The list of unreadable entries, as the end of a run shows it."""

import pyarrow as pa

from fastdup_ray.common import csv_columns, layout
from fastdup_ray.common.layout import FileSet
from fastdup_ray.common.names import escape_invisible
from fastdup_ray.errors import ErrorCode
from fastdup_ray.storage import Store
from fastdup_ray.storage.csv_files import read_csv
from fastdup_ray.storage.tables import escape_names

FEW = 9
"""Upper limit of unreadable entries that are shown one by one."""

IN_WORDS = {
    ErrorCode.ZERO_SIZE: "empty",
    ErrorCode.NOT_AN_IMAGE: "not an image",
    ErrorCode.TRUNCATED: "cut off",
    ErrorCode.CORRUPT: "damaged",
    ErrorCode.TOO_LARGE: "too large",
    ErrorCode.TOO_SMALL: "too small",
    ErrorCode.UNREADABLE: "not readable",
    ErrorCode.MISSING: "missing",
    ErrorCode.CHANGED: "changed while it was read",
    ErrorCode.READ_FAILED: "failed to read",
    ErrorCode.BOUNDING_BOX_OUTSIDE: "outside of the bounding box",
    ErrorCode.TIMEOUT: "took too long",
    ErrorCode.OUT_OF_MEMORY: "needs too much memory",
    ErrorCode.CRASHED: "crashed the decoder",
    ErrorCode.UNSUPPORTED: "not supported",
}
"""Error code -> what is wrong with a file, in a word or two."""


def describe_code(code: str) -> str:
    """Return an error code in words; the code itself if it is unknown."""
    return {str(error): words for error, words in IN_WORDS.items()}.get(code, code)


def describe_few_bad(store: Store, files: FileSet, count: int) -> list[str]:
    """Return `name: reason` for each of the `count` unreadable entries; nothing if there are more than `FEW`."""
    if not 0 < count <= FEW or not store.exists(files.name(layout.BAD_CSV)):
        return []
    table = _read(store, files)
    names, reasons = (escape_names(table[name]).to_pylist() for name in ("filename", "message"))
    pairs = zip(names, reasons, strict=True)
    return [f"{escape_invisible(name)}: {escape_invisible(reason)}" for name, reason in pairs]


def describe_bad(store: Store, files: FileSet, count: int) -> list[str]:
    """Return a line for each of the `count` unreadable entries or, if these are many, for each kind of problem."""
    if count <= FEW or not store.exists(files.name(layout.BAD_CSV)):
        return describe_few_bad(store, files, count)
    table = _read(store, files)
    codes = escape_names(table["error_code"])
    names = escape_names(table["filename"])
    counts = sorted(codes.value_counts().to_pylist(), key=lambda code: -code["counts"])
    lines = []
    for code in counts:
        first = names[codes.index(code["values"]).as_py()].as_py()
        lines.append(f"{code['counts']:,} {describe_code(code['values'])}, such as {escape_invisible(first)}")
    return [*lines, f"All are listed in {files.name(layout.BAD_CSV)}"]


def _read(store: Store, files: FileSet) -> pa.Table:
    return read_csv(store.fetch(files.name(layout.BAD_CSV)), csv_columns.BAD_HEADER)
