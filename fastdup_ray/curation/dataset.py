"""`apply --link`: builds a clean data set of what a plan keeps, and leaves everything else as it is."""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from fastdup_ray.common.names import escape_invisible
from fastdup_ray.common.paths import accept_paths
from fastdup_ray.common.records import ImageRef
from fastdup_ray.curation.apply import Location, Tell
from fastdup_ray.curation.file_ops import FileIdentity, FileMover, Link, get_file_mover
from fastdup_ray.curation.finished_run import read_finished_run
from fastdup_ray.curation.moves import group_by_folder
from fastdup_ray.curation.plan_file import read_plan
from fastdup_ray.curation.provenance import check_provenance, store_of_run
from fastdup_ray.curation.sidecars import find_sidecars
from fastdup_ray.errors import ConfigError, InputError, RefusedError
from fastdup_ray.inputs import is_standalone_file, stat
from fastdup_ray.s3 import Access, is_s3, make_access, to_absolute
from fastdup_ray.storage import open_store


@dataclass
class DatasetResult:
    """What a data set consists of, or would. parts: kept pictures in archives and videos, which cannot be linked."""

    folder: str
    executed: bool
    pictures: int = 0
    sidecars: int = 0
    dropped: int = 0
    parts: int = 0
    refused: list[tuple[str, str]] = field(default_factory=list)

    def text(self) -> str:
        """What the command prints at the end."""
        beside = f" and {self.sidecars:,} files beside them" if self.sidecars else ""
        are = "are" if self.executed else "would be"
        lines = [f"{self.pictures:,} pictures{beside} {are} in {self.folder}, without {self.dropped:,} that go."]
        if self.parts:
            lines.append(f"{self.parts:,} in archives and videos are left out.")
        if not self.executed:
            lines.append("Nothing was written. To do it: the same call with --execute")
        return "\n".join(lines)

    def check(self) -> None:
        """Raises `RefusedError` where anything was refused."""
        if self.refused:
            raise RefusedError(f"{len(self.refused):,} files are not in it; a line above says why for each.")


@accept_paths("plan", "folder", "work_dir")
def build_dataset(
    plan: Location,
    folder: Location,
    link: Link,
    work_dir: Location | None = None,
    execute: bool = False,
    tell: Tell = lambda line: None,
    any_plan: bool = False,
    *,
    s3_anonymous: bool = False,
    s3_requester_pays: bool = False,
) -> DatasetResult:
    """Puts all good pictures of a run but those that a plan drops into `folder`, as links or copies, with sidecars.

    The folders are those that the pictures are in, from the one on that all of them share. work_dir: of the run;
    default: the folder of the plan. any_plan: take a plan of another run, or of none. Nothing is written over; the same
    call again adds what is missing. Raises `InputError`, `ConfigError`, `WorkDirError`.
    """
    access = make_access(anonymous=s3_anonymous, requester_pays=s3_requester_pays)
    source, rows = store_of_run(plan, work_dir, access), read_plan(plan, access)
    if not any_plan:
        check_provenance(rows, plan, source)
    run = read_finished_run(source)
    going = {row.filename for row in rows if row.is_dropped}
    names = [os.fsdecode(name) for name in run.names.to_pylist()]
    if strangers := going.difference(names):
        raise InputError(f"The plan drops {min(strangers)!r}, which the run did not see: name its --work-dir.")
    target = open_store(folder, access)
    built = DatasetResult(target.location, execute, dropped=len(going))
    facts = run.images.select(["size", "mtime_or_etag", "sha256"]).to_pylist()
    known = {
        name: fact
        for name, fact in zip(names, facts, strict=True)
        if name not in going and is_standalone_file(name, access)
    }
    built.parts = len(names) - len(going) - len(known)
    _check_folder(target.location, names, run.config.get("input_dir"))
    if execute:
        target.prepare()
    building = _DatasetBuilder(built, _find_common_folder(names), link, tell, access)
    for pictures in group_by_folder(known):
        building.add_folder(pictures, known)
    return built


def _check_folder(folder: str, names: Sequence[str], inputs: str | Sequence[str] | None) -> None:
    if len({is_s3(name) for name in [*names, folder]}) > 1:
        raise ConfigError(f"{folder!r} is not the kind of place that all pictures are in: name one that is.")
    for location in [inputs] if isinstance(inputs, str) else inputs or ():
        if f"{folder}/".startswith(to_absolute(location).rstrip("/") + "/"):
            raise ConfigError(f"{folder!r} is in {location!r}, an input of the run: name a folder outside of it.")


def _find_common_folder(names: Iterable[str]) -> str:
    """The folder that all pictures share, without a / at its end."""
    # commonpath would take // and . out of the keys of objects, where they mean something
    return os.path.commonprefix([os.path.dirname(name) + "/" for name in names]).rpartition("/")[0]  # noqa: RUF071


class _DatasetBuilder:
    def __init__(self, built: DatasetResult, root: str, link: Link, tell: Tell, access: Access):
        self._built, self._root, self._link, self._tell = built, root, link, tell
        self._access = access
        self._place: FileMover = get_file_mover(built.folder, access)

    def add_folder(self, pictures: Sequence[str], known: dict[str, dict]) -> None:
        """The kept pictures of one folder, and their sidecars."""
        for name in pictures:
            self._built.pictures += self._add(name, known[name])
        for sidecar in find_sidecars(self._place.list_siblings(pictures[0]), pictures):
            if not known.keys().isdisjoint(sidecar.images):
                self._built.sidecars += self._add(sidecar.name)

    def _add(self, name: str, fact: dict | None = None) -> bool:
        try:
            if fact is not None and stat(name, self._access) != ImageRef(name, fact["size"], fact["mtime_or_etag"]):
                with self._place.hold(name, FileIdentity(fact["size"], fact["sha256"])):
                    pass  # it was touched, but has the same bytes
            if self._built.executed:
                self._place.link(name, self._built.folder + name.removeprefix(self._root), self._link)
        except RefusedError as error:
            self._built.refused.append((name, str(error)))
            self._tell(f"left out {escape_invisible(name)}: {error}")
            return False
        return True
