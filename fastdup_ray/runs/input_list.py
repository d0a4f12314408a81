"""The list of a run, which is made once, in the background where something else can be done meanwhile."""

from collections.abc import Iterator
from concurrent.futures import Future, wait
from contextlib import contextmanager, suppress
from pathlib import PurePosixPath
from threading import Event
from uuid import uuid4

from fastdup_ray.config import RunConfig
from fastdup_ray.errors import LockedError
from fastdup_ray.inputs import SkippedFiles
from fastdup_ray.inputs.manifest import Manifest
from fastdup_ray.runs.preflight import list_manifest
from fastdup_ray.runs.stages import Stages
from fastdup_ray.storage import Store
from fastdup_ray.system.background import start_in_background

LISTING_FIRST = 0.3
"""Seconds that a listing gets before Ray is started beside it, so that an empty folder is reported at once."""


class InputList:
    """The whole list of a run.

    Attributes:
        skipped: What the listing left out so far because of its extension.
    """

    def __init__(self, config: RunConfig, stages: Stages, store: Store, folder: str) -> None:
        """Prepare the list of a run.

        Args:
            config: Of the run.
            stages: Measures how long the run waits for the list.
            store: The work_dir, whose lock the run holds once it reads the list.
            folder: Folder for the list.
        """
        self.skipped = SkippedFiles()
        self._config, self._stages = config, stages
        self._store, self._folder = store, f"{folder}/{uuid4().hex}"  # runs of ranges may be under way at the same time
        self._listing: Future[Manifest] | None = None
        self._manifest: Manifest | None = None

    @contextmanager
    def in_background(self) -> Iterator[None]:
        """List the input while the context lasts, unless that is done; what is wrong at once is raised at once."""
        if self._manifest is not None:
            yield
            return
        with start_in_background(self._list) as self._listing:
            if self._listing in wait([self._listing], LISTING_FIRST).done:
                self._listing.result()
            yield

    def _list(self, stop: Event) -> Manifest:
        return list_manifest(self._config, self.skipped, stop, self._store, self._folder)

    def remove(self) -> None:
        """Remove what is in files, unless another run has taken the work_dir over."""
        with suppress(LockedError):
            self._store.remove(self._folder)
            for folder in PurePosixPath(self._folder).parents[:-1]:
                self._store.remove_if_empty(str(folder))

    def read(self) -> Manifest:
        """Return the whole list; wait for it if it is being made.

        Raises:
            InputError: The list is empty, or nothing in it can be read.
        """
        if self._manifest is not None:
            return self._manifest
        if self._listing is None:
            with self.in_background():
                return self.read()
        with self._stages.time("list"):
            self._manifest = self._listing.result()
        return self._manifest
