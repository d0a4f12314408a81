"""The command `apply --link`: build a clean data set of the images that a plan keeps, and leave the originals alone."""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain

import numpy as np

from fastdup_ray.common.access import make_access
from fastdup_ray.common.arrays import IntArray, split_array
from fastdup_ray.common.formatting import format_count
from fastdup_ray.common.locations import to_absolute
from fastdup_ray.common.paths import accept_paths
from fastdup_ray.common.records import ImageRef
from fastdup_ray.curation.apply import LineCallback, Location, describe_refusal, ignore_line
from fastdup_ray.curation.file_ops import FileIdentity, FileMover, Link, get_file_mover
from fastdup_ray.curation.finished_run import FinishedRun, read_finished_run
from fastdup_ray.curation.folders import decode, group_by_folder
from fastdup_ray.curation.keeper_choice import check_names
from fastdup_ray.curation.plan import ROWS_AT_ONCE, Plan
from fastdup_ray.curation.plan_file import read_plan
from fastdup_ray.curation.provenance import check_provenance, store_of_run
from fastdup_ray.errors import ConfigError, InputError, RefusedError
from fastdup_ray.features import find_names
from fastdup_ray.inputs import find_standalone, stat
from fastdup_ray.inputs.sidecars import find_sidecars
from fastdup_ray.storage import open_store
from fastdup_ray.storage.disk_list import DiskList
from fastdup_ray.storage.tables import take_rows


@dataclass
class DatasetResult:
    """A data set that `build_dataset` built, or would build.

    Attributes:
        folder: Path or URI of the data set.
        executed: False for a dry run.
        images: Number of images in it.
        sidecars: Number of sidecars in it.
        dropped: Number of images that the plan drops.
        parts: Number of kept images in archives and videos, which are left out.
        refused: Name and reason of each file that is left out.
    """

    folder: str
    executed: bool
    images: int = 0
    sidecars: int = 0
    dropped: int = 0
    parts: int = 0
    refused: DiskList[tuple[str, str]] = field(default_factory=DiskList)

    def text(self) -> str:
        """Return what the command prints in the end: the total, and what to do next."""
        files = format_count(self.images, "image")
        if self.sidecars:
            files += f" and {format_count(self.sidecars, 'sidecar')}"
        without = f"without {format_count(self.dropped, 'dropped image')}"
        if self.executed:
            lines = [f"The data set {self.folder} has {files}, {without}."]
        else:
            lines = [f"Would put {files} into {self.folder}, {without}. Add --execute to build it."]
        if self.parts:
            lines.append(f"Left out: {format_count(self.parts, 'image')} in archives and videos.")
        return "\n".join(lines)

    def check(self) -> None:
        """Raise `RefusedError` if a file was left out that should be in the data set."""
        if self.refused:
            raise RefusedError(f"{format_count(len(self.refused), 'file')} left out; see the reasons above.")


@accept_paths("plan", "folder", "work_dir")
def build_dataset(
    plan: Location,
    folder: Location,
    link: Link,
    work_dir: Location | None = None,
    *,
    execute: bool = False,
    tell: LineCallback = ignore_line,
    any_plan: bool = False,
    s3_anonymous: bool = False,
    s3_requester_pays: bool = False,
) -> DatasetResult:
    """Link or copy all good images of a run that a plan does not drop, and their sidecars, into a folder.

    The folder keeps the structure of the input, from the deepest folder on that all images share. Nothing is
    overwritten; the same call again adds what is missing.

    Args:
        plan: A CSV or JSON file, a path or a URI.
        folder: The folder or prefix to build it in, outside of the inputs.
        link: `hard`, `copy` or `symlink`; in buckets only `copy`.
        work_dir: The work_dir of the run that the plan was made from; default: the folder of the plan.
        execute: Build it. By default, only check all files and return what would be done.
        tell: Gets a line for each file that is left out.
        any_plan: Accept a plan of another run, or of none.
        s3_anonymous: Send unsigned requests to buckets.
        s3_requester_pays: Pay for reads from requester-pays buckets.

    Returns:
        What is in the data set, and what was left out, with the reasons.

    Raises:
        InputError: If there is no such plan or run, or the plan is of another run.
        ConfigError: If the folder is in an input, or in another kind of storage than the images.
        WorkDirError: If the folder cannot be written.
    """
    access = make_access(anonymous=s3_anonymous, requester_pays=s3_requester_pays)
    path, work_dir = os.fspath(plan), None if work_dir is None else os.fspath(work_dir)
    source, rows = store_of_run(path, work_dir, access), read_plan(path, access)
    if not any_plan:
        check_provenance(rows, path, source)
    run = read_finished_run(source)
    dropped = _find_dropped(rows, run)
    target = open_store(folder, access)
    result = DatasetResult(target.location, execute, dropped=len(dropped), refused=DiskList(rows.scratch))
    everything = np.arange(len(run.names))
    is_kept = check_names(run, everything, lambda names: find_standalone(names, access))
    is_kept[dropped] = False
    result.parts = len(everything) - len(dropped) - int(is_kept.sum())
    _check_folder(target.location, run, run.config.get("input_dir"))
    if execute:
        target.prepare()
    builder = _DatasetBuilder(result, run, _find_common_folder(_iter_names(run)), link, tell)
    for images in group_by_folder(run.names, np.flatnonzero(is_kept)):
        builder.add_folder(images)
    return result


def _find_dropped(plan: Plan, run: FinishedRun) -> IntArray:
    """Return (d,) the indices of the images that a plan drops; raise `InputError` if the run did not see one."""
    numbers = np.flatnonzero(plan.is_dropped)
    dropped = find_names(plan.names, run.names, plan.scratch)[numbers]
    if unknown := [plan[number].filename for number in numbers[dropped < 0].tolist()]:
        raise InputError(f"The plan drops {min(unknown)!r}, which the run did not see: name its run with work_dir=….")
    return dropped


def _iter_names(run: FinishedRun) -> Iterator[str]:
    return (name for part in split_array(np.arange(len(run.names)), ROWS_AT_ONCE) for name in decode(run.names, part))


def _check_folder(folder: str, run: FinishedRun, inputs: str | Sequence[str] | None) -> None:
    """Raise `ConfigError` if a data set of the images of a run cannot be built in a folder."""
    if len({get_file_mover(name) for name in chain(_iter_names(run), [folder])}) > 1:
        raise ConfigError(
            f"Cannot build a data set in {folder!r}: it has to be in a bucket if the images are, else a local folder."
        )
    for location in [inputs] if isinstance(inputs, str) else inputs or ():
        if f"{folder}/".startswith(to_absolute(location).rstrip("/") + "/"):
            raise ConfigError(
                f"Cannot build a data set in {folder!r}, which is in {location!r}, an input of the run: "
                "name a folder outside of it."
            )


def _find_common_folder(names: Iterable[str]) -> str:
    """Return the deepest folder that contains all images, without a slash at its end."""
    # commonpath would remove // and . from the keys of objects, where they mean something
    prefix = None
    for name in names:
        folder = os.path.dirname(name) + "/"
        prefix = folder if prefix is None else os.path.commonprefix([prefix, folder])  # noqa: RUF071
    return (prefix or "").rpartition("/")[0]


class _DatasetBuilder:
    """Adds images and sidecars to a data set, or checks that it could.

    Args:
        result: Gets the results.
        run: The run that has seen the images.
        root: The folder whose structure the data set keeps.
        link: How files are linked.
        tell: Gets a line for each file that is left out.
    """

    def __init__(self, result: DatasetResult, run: FinishedRun, root: str, link: Link, tell: LineCallback) -> None:
        self._result, self._run, self._root, self._link, self._tell = result, run, root, link, tell
        self._facts = run.images.select(["size", "mtime_or_etag", "sha256"])
        self._mover: FileMover = get_file_mover(result.folder, run.access)

    def add_folder(self, images: Mapping[str, int]) -> None:
        """Add the kept images of one folder, each with its index in the run, and their sidecars."""
        names = iter(images)
        for rows in split_array(np.fromiter(images.values(), np.int64, len(images)), ROWS_AT_ONCE):
            for name, fact in zip(names, take_rows(self._facts, rows).to_pylist(), strict=False):
                ref = ImageRef(name, fact["size"], fact["mtime_or_etag"])
                self._result.images += self._add(name, (ref, FileIdentity(fact["size"], fact["sha256"] or "")))
        try:
            files = self._mover.list_siblings(next(iter(images)))
        except RefusedError:
            return  # the images of this folder were refused, too
        for sidecar in find_sidecars(files, images):
            if not images.keys().isdisjoint(sidecar.images):
                self._result.sidecars += self._add(sidecar.name)

    def _add(self, name: str, seen: tuple[ImageRef, FileIdentity] | None = None) -> bool:
        try:
            if seen is not None and stat(name, self._run.access) != seen[0]:
                with self._mover.hold(name, seen[1]):
                    pass  # it has another mtime, but the same bytes
            if self._result.executed:
                self._mover.link(name, self._result.folder + name.removeprefix(self._root), self._link)
        except RefusedError as error:
            self._result.refused.append((name, str(error)))
            self._tell(describe_refusal(name, str(error)))
            return False
        return True
