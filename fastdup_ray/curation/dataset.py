"""The command `apply --link`: build a clean data set of the images that a plan keeps, and leave the originals alone."""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from fastdup_ray.common.access import Access, make_access
from fastdup_ray.common.formatting import format_count
from fastdup_ray.common.locations import to_absolute
from fastdup_ray.common.paths import accept_paths
from fastdup_ray.common.records import ImageRef
from fastdup_ray.curation.apply import LineCallback, Location, describe_refusal, ignore_line
from fastdup_ray.curation.file_ops import FileIdentity, FileMover, Link, get_file_mover
from fastdup_ray.curation.finished_run import read_finished_run
from fastdup_ray.curation.moves import group_by_folder
from fastdup_ray.curation.plan_file import read_plan
from fastdup_ray.curation.provenance import check_provenance, store_of_run
from fastdup_ray.errors import ConfigError, InputError, RefusedError
from fastdup_ray.inputs import is_standalone_file, stat
from fastdup_ray.inputs.sidecars import find_sidecars
from fastdup_ray.storage import open_store


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
    refused: list[tuple[str, str]] = field(default_factory=list)

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
    plan, work_dir = os.fspath(plan), None if work_dir is None else os.fspath(work_dir)
    source, rows = store_of_run(plan, work_dir, access), read_plan(plan, access)
    if not any_plan:
        check_provenance(rows, plan, source)
    run = read_finished_run(source)
    dropped = {row.filename for row in rows if row.is_dropped}
    names = [os.fsdecode(name) for name in run.names.to_pylist()]
    if unknown := dropped.difference(names):
        raise InputError(f"The plan drops {min(unknown)!r}, which the run did not see: name its run with work_dir=….")
    target = open_store(folder, access)
    result = DatasetResult(target.location, execute, dropped=len(dropped))
    facts = run.images.select(["size", "mtime_or_etag", "sha256"]).to_pylist()
    kept = {
        name: (ImageRef(name, fact["size"], fact["mtime_or_etag"]), FileIdentity(fact["size"], fact["sha256"] or ""))
        for name, fact in zip(names, facts, strict=True)
        if name not in dropped and is_standalone_file(name, access)
    }
    result.parts = len(names) - len(dropped) - len(kept)
    _check_folder(target.location, names, run.config.get("input_dir"))
    if execute:
        target.prepare()
    builder = _DatasetBuilder(result, _find_common_folder(names), link, tell, access)
    for images in group_by_folder(kept):
        builder.add_folder(images, kept)
    return result


def _check_folder(folder: str, names: Sequence[str], inputs: str | Sequence[str] | None) -> None:
    """Raise `ConfigError` if a data set of these images cannot be built in a folder."""
    if len({get_file_mover(name) for name in [*names, folder]}) > 1:
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
    return os.path.commonprefix([os.path.dirname(name) + "/" for name in names]).rpartition("/")[0]  # noqa: RUF071


class _DatasetBuilder:
    """Adds images and sidecars to a data set, or checks that it could.

    Args:
        result: Gets the results.
        root: The folder whose structure the data set keeps.
        link: How files are linked.
        tell: Gets a line for each file that is left out.
        access: How buckets are accessed.
    """

    def __init__(self, result: DatasetResult, root: str, link: Link, tell: LineCallback, access: Access) -> None:
        self._result, self._root, self._link, self._tell = result, root, link, tell
        self._access = access
        self._mover: FileMover = get_file_mover(result.folder, access)

    def add_folder(self, images: Sequence[str], kept: Mapping[str, tuple[ImageRef, FileIdentity]]) -> None:
        """Add the kept images of one folder, and their sidecars."""
        for name in images:
            self._result.images += self._add(name, kept[name])
        for sidecar in find_sidecars(self._mover.list_siblings(images[0]), images):
            if not kept.keys().isdisjoint(sidecar.images):
                self._result.sidecars += self._add(sidecar.name)

    def _add(self, name: str, seen: tuple[ImageRef, FileIdentity] | None = None) -> bool:
        try:
            if seen is not None and stat(name, self._access) != seen[0]:
                with self._mover.hold(name, seen[1]):
                    pass  # it has another mtime, but the same bytes
            if self._result.executed:
                self._mover.link(name, self._result.folder + name.removeprefix(self._root), self._link)
        except RefusedError as error:
            self._result.refused.append((name, str(error)))
            self._tell(describe_refusal(name, str(error)))
            return False
        return True
