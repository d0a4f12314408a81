"""The result of a run: its outputs as Arrow tables, in words, and by search."""

import html
import os
from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import quote

import pyarrow as pa
import pyarrow.compute as pc

from fastdup_ray.common import csv_columns, layout
from fastdup_ray.common.access import DEFAULT_ACCESS, Access
from fastdup_ray.common.facts import Counts, RunSummary
from fastdup_ray.common.layout import INDEXED, SCORED, FileSet
from fastdup_ray.common.paths import accept_paths
from fastdup_ray.errors import InputError
from fastdup_ray.outputs.finished_run import RunReader
from fastdup_ray.outputs.formats import COMPONENTS, IMAGES, PAIRS
from fastdup_ray.outputs.shown_counts import iter_shown_counts
from fastdup_ray.storage import open_store
from fastdup_ray.storage.csv_files import parse_numbers, read_csv
from fastdup_ray.storage.tables import describe_other_run, escape_names

if TYPE_CHECKING:
    import pandas as pd

    from fastdup_ray.image_search import ImageSearch, Query

_NUMBERS = {
    "component_id": pa.int64(),
    "count": pa.int64(),
    **dict.fromkeys(("distance", "mean", "min", "max"), pa.float64()),
}
"""Columns of CSV files that hold numbers; all others hold text."""


@dataclass(frozen=True, repr=False)
class RunResult:
    r"""The outputs of a run, read when they are asked for.

    Each table is a `pa.Table`; those of Parquet files are mapped from unnamed files, so that they take no memory before
    they are used. `to_pandas()` needs pandas. Bytes of names that are not UTF-8 are written `\xNN`.
    A property raises `DamagedError` if its file is not the one that the run wrote, and `FileNotFoundError` if the run
    wrote none.

    Attributes:
        work_dir: Absolute path or URI of the work_dir.
        summary: Content of summary.json.
        files: The file set of the run; of a scoring, that of the new images.
        access: How the bucket of `work_dir` is accessed.
    """

    work_dir: str
    summary: RunSummary
    files: FileSet = INDEXED
    access: Access = field(default=DEFAULT_ACCESS, repr=False)

    @classmethod
    @accept_paths("work_dir")
    def open(cls, work_dir: str | os.PathLike[str], *, scored: bool = False, access: Access = DEFAULT_ACCESS) -> Self:
        """Open the result of a finished run.

        Args:
            work_dir: Its folder, or URI of a bucket.
            scored: Open the last scoring there instead.
            access: How buckets are accessed.

        Raises:
            InputError: No run or scoring has finished there.
            DamagedError: summary.json is damaged.
        """
        return cls.of(RunReader.open(open_store(work_dir, access), SCORED if scored else INDEXED))

    @classmethod
    def of(cls, run: RunReader) -> Self:
        """Return the result of a run that is open already."""
        return cls(run.store.location, run.summary, run.files, run.store.access)

    @property
    def counts(self) -> Counts:
        """Numbers of images: entries, images, bad, duplicates, safe_to_drop, to_review, outliers and more.

        `outputs.duplicate_counts.DuplicateCounts` says what the three in the middle are. Of a scoring there are none.
        `pairs` are the rows of similarity.csv, `distinct_pairs` count (a, b) and (b, a) once, and `components` are the
        groups of two images or more. Of a scoring, `exact_copies` are duplicates of indexed images, of which there are
        `indexed`.
        """
        return self.summary["counts"]

    @cached_property
    def duplicates(self) -> pa.Table:
        """The images that are not needed if one image of each group of duplicates is kept, one row for each.

        Columns: filename; keeper, the image that it repeats; kind: `bytes` or `pixels` for exact duplicates, else the
        relation if the two were compared in full detail, else `similar`; similarity; group (component_id);
        safe_to_drop: whether `plan` suggests to drop it; size in bytes.

        Raises:
            InputError: It is a scoring, or a run without a search.
        """
        # These imports take half a second, which only this property needs.
        from fastdup_ray.curation.duplicates import list_duplicates
        from fastdup_ray.curation.finished_run import read_finished_run
        from fastdup_ray.curation.suggest import suggest_plan
        from fastdup_ray.outputs.exact_copies import read_exact_copies

        if self.files != INDEXED:
            raise InputError("A scoring has no groups of duplicates: see exact_copies and similarity instead.")
        store = self._run.store
        run = read_finished_run(store)
        component = None
        if layout.COMPONENTS in self.summary["sha256"]:
            component = self.components["component_id"].to_numpy()
        copies = read_exact_copies(store, INDEXED, run.names, run.names)
        return list_duplicates(run, suggest_plan(run), copies, component)

    @property
    def groups(self) -> pa.Table:
        """The groups of `duplicates`, the largest first.

        Columns: group (component_id), images, safe_to_drop (number of images), reclaimable_bytes (of these),
        lowest_similarity (of a duplicate and its keeper).
        """
        from fastdup_ray.curation.duplicates import list_groups

        return list_groups(self.duplicates)

    @property
    def images(self) -> pa.Table:
        """images.parquet, or test_images.parquet."""
        return self._run.map_parquet(self.files.name(layout.IMAGES), IMAGES)

    @property
    def similarity(self) -> pa.Table:
        """similarity.parquet: from, to, distance; after the stage `verify` relation, cover_from, cover_to, difference.

        A scoring replaces the file, but not this property of the run before it.
        """
        return self._run.map_parquet(layout.SIMILARITY, PAIRS)

    @property
    def verified_pairs(self) -> pa.Table:
        """verified_pairs.csv: pairs that are not above the threshold and show the same; not written without `verify`.

        Columns: from, to, distance, relation, cover_from, cover_to, difference.
        """
        return self._csv(layout.VERIFIED_CSV, csv_columns.VERIFIED_HEADER)

    @property
    def components(self) -> pa.Table:
        """components.parquet of the indexed set; not written with run_cc=0."""
        return self._run.map_parquet(layout.COMPONENTS, COMPONENTS)

    @property
    def components_info(self) -> pa.Table:
        """components_info.csv: component_id, count (of images), mean, min, max (of the similarities of its edges)."""
        return self._csv(layout.COMPONENTS_INFO_CSV, csv_columns.COMPONENTS_INFO_HEADER)

    @property
    def outliers(self) -> pa.Table:
        """outliers.csv: from, to, distance, the farthest first."""
        return self._csv(self.files.name(layout.OUTLIERS_CSV), csv_columns.PAIRS_HEADER)

    @property
    def exact_copies(self) -> pa.Table:
        """exact_copies.csv: filename, copy_of, kind (bytes or pixels)."""
        return self._csv(self.files.name(layout.EXACT_COPIES_CSV), csv_columns.EXACT_COPIES_HEADER)

    @property
    def bad(self) -> pa.Table:
        """features.bad.csv: filename, error_code, message."""
        return self._csv(self.files.name(layout.BAD_CSV), csv_columns.BAD_HEADER)

    @property
    def changes(self) -> pa.Table:
        """changes.csv: change, component_id, from, to, distance; written with `incremental`."""
        return self._csv(layout.CHANGES_CSV, csv_columns.CHANGES_HEADER)

    @property
    def invariant(self) -> pa.Table:
        """similarity_invariant.csv: from, to, distance, turn; written with `invariant`."""
        return self._csv(layout.INVARIANT_CSV, csv_columns.INVARIANT_HEADER)

    @property
    def label_conflicts(self) -> pa.Table:
        """label_conflicts.csv: from, to, distance, label_from, label_to; written with `labels`."""
        return self._csv(self.files.name(layout.LABEL_CONFLICTS_CSV), csv_columns.LABEL_CONFLICTS_HEADER)

    @property
    def report(self) -> Path:
        """Path of the HTML report."""
        return self._run.store.fetch(self.files.name(layout.REPORT))

    def search(self, image: "Query", k: int = 10, *, verify: bool = False) -> pa.Table:
        """Find the images of the run that are most similar to one image, exactly. Nothing in the work_dir changes.

        The first call loads the model and the embeddings, the next ones take a fraction of a second.

        Args:
            image: Its path or URI, the bytes of its file, a PIL image, or pixels: (height, width) or
                (height, width, 3) uint8.
            k: Number of images; of a smaller run, all are returned.
            verify: Also compare each of them with the image in full detail.

        Returns:
            filename and similarity, the most similar first; with `verify` also relation, null for files that cannot be
            read any more.

        Raises:
            InputError: The image cannot be read, or the embeddings were not made by a run.
            ConfigError: A parameter is wrong.
            DamagedError: A file is not the one that the run wrote.
        """
        return self._search.search(image, k, verify=verify)

    def search_text(self, text: str, k: int = 10) -> pa.Table:
        """Find the images of the run that a text describes best, where its model has a text tower, such as CLIP's.

        Needs the extra `text`. The search is exact, and nothing in the work_dir changes.

        Args:
            text: A few words, such as "a red car".
            k: Number of images; of a smaller run, all are returned.

        Returns:
            filename and similarity, the most similar first. The similarity of a text and an image is much lower than
            that of two images.

        Raises:
            InputError: The model of the run has no text tower, or the embeddings were not made by a run.
            ConfigError: A parameter is wrong.
            DamagedError: A file is not the one that the run wrote.
        """
        return self._search.search_text(text, k)

    def to_arrow(self) -> pa.Table:
        """Return one row for each image: images.parquet, exact duplicates (copy_of, copy_kind), and its component."""
        table, copies = self.images, self.exact_copies
        row = pc.index_in(table["filename"], copies["filename"].combine_chunks())
        table = table.append_column("copy_of", copies["copy_of"].take(row))
        table = table.append_column("copy_kind", copies["kind"].take(row))
        if self.files == INDEXED and layout.COMPONENTS in self.summary["sha256"]:
            components = self.components.drop_columns(["__id"])
            if len(components) != len(table):
                raise describe_other_run(os.path.join(self.work_dir, layout.COMPONENTS))
            for name in components.column_names:
                table = table.append_column(name, components[name])
        return table

    def to_pandas(self) -> "pd.DataFrame":
        """Return `to_arrow()` as a data frame; needs pandas."""
        return self.to_arrow().to_pandas()

    def __repr__(self) -> str:
        """Return a small table: the counts, and where the report is."""
        rows = [*((name, f"{count:,}") for name, count in iter_shown_counts(self.counts)), *self._shown_report()]
        width = max((len(name) for name, _ in rows), default=0)
        return "\n".join([f"RunResult: {self._shorten(self.work_dir)}", *(f"  {n:<{width}}  {v}" for n, v in rows)])

    def _repr_html_(self) -> str:
        """Return the same for a notebook, with a link to the report."""
        cells = [f"<tr><td>{name}</td><td>{count:,}</td></tr>" for name, count in iter_shown_counts(self.counts)]
        link = "".join(
            f'<p><a href="{_make_link(path)}">{html.escape(path)}</a></p>' for _, path in self._shown_report()
        )
        title = html.escape(f"RunResult: {self._shorten(self.work_dir)}")
        return f"<table><caption>{title}</caption>{''.join(cells)}</table>{link}"

    def __getstate__(self) -> dict[str, Any]:
        """Return the fields alone: tables and indexes that were loaded are left out of a pickle."""
        return {item.name: getattr(self, item.name) for item in fields(self)}

    def _shown_report(self) -> Iterator[tuple[str, str]]:
        """Yield the path of the report, if there is one on this machine."""
        path = os.path.join(self.work_dir, self.files.name(layout.REPORT))
        if os.path.exists(path):
            yield "report", self._shorten(path)

    @staticmethod
    def _shorten(path: str) -> str:
        """Return a path relative to the current folder, if it is below it."""
        return os.path.relpath(path) if path.startswith(os.path.join(os.getcwd(), "")) else path

    @cached_property
    def _search(self) -> "ImageSearch":
        from fastdup_ray.image_search import ImageSearch

        return ImageSearch(self._run)

    @property
    def _run(self) -> RunReader:
        return RunReader(open_store(self.work_dir, self.access), self.summary, self.files)

    def _csv(self, name: str, header: tuple[str, ...]) -> pa.Table:
        path = self._run.fetch(name)
        table = read_csv(path, header)
        return pa.table({column: _column(path, table, column) for column in header})


def _make_link(path: str) -> str:
    """Return the URL of a local file, as seen from a notebook in the current folder."""
    return Path(path).as_uri() if os.path.isabs(path) else quote(path)


def _column(path: Path, table: pa.Table, name: str) -> pa.ChunkedArray:
    if name in _NUMBERS:
        return parse_numbers(path, table, name, _NUMBERS[name], nullable=True)
    column = table[name].cast(pa.large_binary()).combine_chunks()
    return pa.chunked_array([escape_names(column)], pa.large_string())
