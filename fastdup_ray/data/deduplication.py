"""`deduplicate`: remove the duplicates among the rows of a Dataset."""

import hashlib
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from os import PathLike, fsdecode
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from ray.data import Dataset

from fastdup_ray.analysis.keepers import DEFAULT_RULES
from fastdup_ray.common import layout
from fastdup_ray.config import RunConfig
from fastdup_ray.curation.duplicate_rules import DEFAULT_DROP, make_rule
from fastdup_ray.curation.finished_run import read_finished_run
from fastdup_ray.curation.keeper_choice import choose_keepers
from fastdup_ray.data.columns import choose_columns
from fastdup_ray.data.embedding import EXTRACTION, ActorPool, make_config, map_embeddings
from fastdup_ray.data.features import write_features
from fastdup_ray.data.held_images import HeldImages, is_among
from fastdup_ray.errors import WorkDirError
from fastdup_ray.runs.pipeline import run_pipeline
from fastdup_ray.runs.preflight import make_model_facts
from fastdup_ray.storage import Store, open_store

SEARCH = frozenset(
    [
        *("nearest_neighbors_k", "threshold", "lower_threshold", "ccthreshold", "distance", "verify"),
        *("faiss_mode", "faiss_param", "partition_copies", "partition_memory", "report", "log_format"),
    ]
)
"""Parameters of a run that decide how its embeddings are searched, and what is logged meanwhile."""

QUIET = {"report": False, "log_format": "quiet"}
"""Parameters of the run unless they are given: nobody asked for a page, and Ray Data shows its own progress."""

_ROW = "__fastdup_ray_row"
"""Column of the numbers of rows."""


def deduplicate(
    dataset: Dataset,
    image: str | None = None,
    name: str | None = None,
    *,
    number_rows: bool = False,
    keep: str = DEFAULT_RULES,
    drop: str = DEFAULT_DROP,
    drop_bad: bool = False,
    work_dir: str | PathLike[str] | None = None,
    actors: int | tuple[int, int] | None = None,
    batch_size: int = 128,
    num_cpus: int = 1,
    **parameters: Any,
) -> Dataset:
    """Remove the images of a Dataset that `plan` would drop after a run over all of them.

    The Dataset is executed twice here: to embed the images, and to get those that have to be compared in full detail.
    It has to give the same rows each time: call `materialize` first if it does not, or if reading it is expensive.

    Args:
        dataset: Has a column of images, as for `embed`.
        image: Name of that column; None: one with a usual name, such as `bytes` or `image`.
        name: Name of a column that tells the rows apart, text or integers; None: the paths of the images, or a column
            with a usual name, such as `path`, `key` or `id`.
        number_rows: Tell the rows apart without a column. The Dataset is materialized in Ray's object store for that.
            This is also done if there is no column for `name`.
        keep: Rules that choose the keeper of a group, as in `make_plan`. Rules on names go by the column `name`.
        drop: Near duplicates to drop, by their verified relation to the keeper, as in `make_plan`.
        drop_bad: Also remove bad images.
        work_dir: Keep the results of the run there: an empty folder, or a prefix of a bucket. All nodes have to share
            it. None: a temporary folder.
        actors: As for `embed`.
        batch_size: As for `embed`.
        num_cpus: As for `embed`.
        parameters: Of a run: those of `embed`, and nearest_neighbors_k, threshold, lower_threshold, ccthreshold,
            distance, verify, faiss_mode, faiss_param, partition_copies, partition_memory, report, log_format.

    Returns:
        The Dataset without the duplicates, not yet executed. Its columns are the same.

    Raises:
        ConfigError: A parameter is wrong, or there is no such column.
        InputError: The Dataset has no rows or no good image, or two rows have the same name.
        WorkDirError: The work_dir is not empty, cannot be written, or not all nodes share it.
    """
    config = make_config("deduplicate", QUIET | parameters, EXTRACTION | SEARCH)
    columns, numbered = choose_columns(dataset, image, name), dataset
    if number_rows or columns.name is None:
        numbered = dataset.map_batches(partial(_number_rows, image=columns.image), batch_format="pyarrow")
        numbered, columns = numbered.materialize(), replace(columns, name=_ROW)
    pool = ActorPool(actors, batch_size, num_cpus)
    facts = map_embeddings(numbered, columns, config, pool, facts_only=True)
    with _open_work_dir(work_dir, config) as store:
        entries = write_features(
            store, facts.iter_batches(batch_size=None, batch_format="pyarrow"), make_model_facts(config)
        )
        _run(store, config, HeldImages(numbered, columns, config.s3_access))
        unwanted = _list_duplicates(store, keep, drop)
    if drop_bad:
        unwanted += entries["uri"].filter(pc.is_valid(entries["error_code"])).to_pylist()
    names = pa.array(unwanted, pa.large_string())
    return numbered.map_batches(partial(_remove_rows, column=str(columns.name), names=names), batch_format="pyarrow")


def _number_rows(batch: pa.Table, image: str) -> pa.Table:
    """Name each row by its content, so that ties are broken the same way each time, and by a unique number."""
    own = uuid.uuid4().hex
    digests = (_digest(value.as_py()) for value in batch[image])
    names = [f"{digest}-{own}-{row}" for row, digest in enumerate(digests)]
    return batch.append_column(_ROW, pa.array(names, pa.large_string()))


def _digest(value: Any) -> str:
    if isinstance(value, dict):
        value = value["bytes"] if value["bytes"] is not None else value.get("path")
    data = value.tobytes() if isinstance(value, np.ndarray) else value.encode() if isinstance(value, str) else value
    return hashlib.sha256(data or b"").hexdigest()


@contextmanager
def _open_work_dir(work_dir: str | PathLike[str] | None, config: RunConfig) -> Iterator[Store]:
    if work_dir is None:
        with tempfile.TemporaryDirectory(prefix="fastdup-ray-") as folder:
            yield open_store(folder, config.s3_access)
        return
    store = open_store(work_dir, config.s3_access)
    if not store.is_empty():
        raise WorkDirError(f"{store.location!r} is not empty; name another work_dir.")
    store.prepare()
    yield store


def _run(store: Store, config: RunConfig, images: HeldImages) -> None:
    """Search the features of a work_dir, compare similar images, and write the results."""
    run_pipeline(config.model_copy(update={"work_dir": store.location}), images)
    for stored in list(store.names("")):
        if layout.parse_range(stored):  # features.dat has the same by now
            store.remove(stored)


def _list_duplicates(store: Store, keep: str, drop: str) -> list[str]:
    """Return the names of the rows that a plan drops."""
    run = read_finished_run(store)
    choice = choose_keepers(run, make_rule(run, None, drop), keep, any_sidecars=True, only_files=False)
    dropped = (run.names.take(pa.array(rows)) for rows, _ in choice.iter_dropped())
    return [fsdecode(name) for names in dropped for name in names.to_pylist()]


def _remove_rows(batch: pa.Table, column: str, names: pa.Array) -> pa.Table:
    batch = batch.filter(pc.invert(is_among(batch[column], names)))
    return batch.drop_columns([_ROW]) if column == _ROW else batch
