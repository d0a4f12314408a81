"""The outputs of a run as data frames, with the columns that fastdup 1 and 2 have."""

import os
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from fastdup_ray.common import csv_columns, layout
from fastdup_ray.common.paths import StrPath
from fastdup_ray.errors import ConfigError, InputError
from fastdup_ray.outputs.duplicate_counts import DuplicateCounts
from fastdup_ray.outputs.stored_config import read_config
from fastdup_ray.result import RunResult
from fastdup_ray.storage import open_store

if TYPE_CHECKING:
    import pandas as pd

VALID = "VALID"
"""The error_code of images that could be read."""

STATISTICS = {
    "width": "img_w",
    "height": "img_h",
    "unique_colors": "unique",
    "blur": "blur",
    "brightness": "mean",
    "contrast": "stdv",
    "size": "file_size",
}
"""Columns of images.parquet -> what they are called here."""


def import_pandas() -> Any:
    """Return the module pandas; raise `ConfigError` if it is not installed."""
    try:
        import pandas as pd
    except ImportError:
        raise ConfigError("Data frames need pandas: pip install pandas.") from None
    return pd


def read_parameters(result: RunResult) -> dict[str, Any]:
    """Return the parameters of a run."""
    return dict(read_config(open_store(result.work_dir, result.access)))


def read_table(annotations: "pd.DataFrame | StrPath") -> "pd.DataFrame":
    """Return a data frame, or the content of a CSV, as text where it is not of numbers."""
    pd = import_pandas()
    if not isinstance(annotations, (str, os.PathLike)):
        return pd.DataFrame(annotations).copy()
    try:
        return pd.read_csv(annotations, dtype={"label": str})
    except (OSError, ValueError) as error:
        raise InputError(f"Cannot read the annotations {os.fspath(annotations)!r}: {error}.") from None


def list_images(result: RunResult, annotations: "pd.DataFrame | None" = None) -> "pd.DataFrame":
    """Return one row for each image, then one for each unreadable file, numbered by the column index.

    Args:
        result: Of the run.
        annotations: Columns to add, by filename.
    """
    pd = import_pandas()
    images, bad = result.images, result.bad.drop_columns(["message"]).to_pandas()
    good = images.select([name for name in ("filename", "label") if name in images.column_names]).to_pandas()
    good = good.dropna(axis="columns", how="all").assign(error_code=VALID, is_valid=True)
    bad = bad.assign(is_valid=False)
    both = pd.concat([good, bad], ignore_index=True) if len(bad) else good
    both.insert(1, "index", range(len(both)))
    if annotations is not None:
        more = annotations.drop_duplicates("filename")
        more = more[["filename", *(name for name in more.columns if name not in both.columns)]]
        both = both.merge(more, on="filename", how="left")
    return both


def number_ends(pairs: pa.Table, images: "pd.DataFrame", ends: tuple[str, str]) -> "pd.DataFrame":
    """Return pairs by the indices of their images instead of their names, under other names of the two columns."""
    table = pairs.to_pandas()
    index_of = images.drop_duplicates("filename").set_index("filename")["index"]
    names = dict(zip(csv_columns.PAIRS_HEADER[:2], ends, strict=True))
    for column in names:
        table[column] = table[column].map(index_of)
    return table.rename(columns=names)


def list_members(result: RunResult) -> "pd.DataFrame":
    """Return index and component_id of each image in a group of two or more."""
    table = result.components.select(["component_id", "count"]).to_pandas()
    table.insert(0, "index", range(len(table)))
    return table[table["count"] > 1].drop(columns="count").reset_index(drop=True)


def list_groups(result: RunResult) -> "pd.DataFrame":
    """Return the groups of two or more: component_id, count, mean_distance, min_distance, max_distance."""
    table = result.components_info.to_pandas()
    names = {name: f"{name}_distance" for name in ("mean", "min", "max")}
    return table[table["count"] > 1].rename(columns=names).reset_index(drop=True)


def list_statistics(result: RunResult) -> "pd.DataFrame":
    """Return index and `STATISTICS` of each image."""
    images = result.images
    columns = [name for name in STATISTICS if name in images.column_names]
    table = images.select(columns).to_pandas().rename(columns=STATISTICS)
    table.insert(0, "index", range(len(table)))
    return table


def describe(result: RunResult) -> list[str]:
    """Return what a run found, in sentences."""
    counts = result.counts
    entries, bad = counts["entries"], counts["bad"]
    lines = [f"{entries:,} files, {bad:,} unreadable: see invalid_instances()."]
    if found := DuplicateCounts.of(counts):
        lines.append(f"{found.text()} See similarity() and connected_components().")
    lines.append(f"{counts.get('outliers', 0):,} outliers: see outliers().")
    lines.append(f"Report: {os.path.join(result.work_dir, layout.REPORT)}")
    return lines
