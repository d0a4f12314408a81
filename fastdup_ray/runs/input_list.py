"""The list of a run, which is made once, in the background where something else can be done meanwhile."""

from collections.abc import Iterator
from concurrent.futures import Future, wait
from contextlib import contextmanager

from fastdup_ray.config import RunConfig
from fastdup_ray.inputs import SkippedFiles
from fastdup_ray.inputs.manifest import Manifest
from fastdup_ray.runs.preflight import list_manifest
from fastdup_ray.runs.stages import Stages
from fastdup_ray.system.background import start_in_background

LISTING_FIRST = 0.3
"""Seconds that a listing gets before Ray is started beside it, so that an empty folder is reported at once."""


class InputList:
    """The whole list of a run.

    Attributes:
        skipped: What the listing left out so far because of its extension.
    """

    def __init__(self, config: RunConfig, stages: Stages) -> None:
        self.skipped = SkippedFiles()
        self._config, self._stages = config, stages
        self._listing: Future[Manifest] | None = None
        self._manifest: Manifest | None = None

    @contextmanager
    def in_background(self) -> Iterator[None]:
        """List the input while the context lasts, unless that is done; what is wrong at once is raised at once."""
        if self._manifest is not None:
            yield
            return
        with start_in_background(lambda stop: list_manifest(self._config, self.skipped, stop)) as self._listing:
            if self._listing in wait([self._listing], LISTING_FIRST).done:
                self._listing.result()
            yield

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
