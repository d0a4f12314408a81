"""Thumbnails of the report that the last run wrote, so that the next report need not decode the same images again."""

import json
from dataclasses import dataclass, field
from typing import Any

from fastdup_ray.common import layout
from fastdup_ray.config import RunConfig
from fastdup_ray.errors import DamagedError, InputError
from fastdup_ray.outputs.basis import fits_basis
from fastdup_ray.outputs.finished_run import RunReader
from fastdup_ray.storage import Store


@dataclass(frozen=True)
class LastThumbnails:
    """The thumbnails of a report.

    Attributes:
        side: Largest width and height of each.
        data_uris: By the sha256 of the image that each was made of.
    """

    side: int = 0
    data_uris: dict[str, str] = field(default_factory=dict)

    def find(self, sha256: str | None, side: int) -> str | None:
        """Return the data URI of the thumbnail of an image.

        Args:
            sha256: Of the image; None if that is not known.
            side: Largest width and height of the thumbnail.

        Returns:
            The data URI; None if the thumbnail has to be made.
        """
        return self.data_uris.get(sha256) if sha256 and side == self.side else None


def read_last_thumbnails(store: Store, config: RunConfig) -> LastThumbnails:
    """Read the thumbnails of the report in a work_dir, if the same code made it and it is as it was written.

    Then it has, of an image with the same content, the thumbnail that would be made now.

    Args:
        store: The work_dir.
        config: Of the run that writes the next report, and has listed its images.

    Returns:
        The thumbnails; none if they cannot be reused.
    """
    if config.run_mode != 0 or not config.reuse or not config.thumbnails:
        return LastThumbnails()
    try:
        basis = RunReader.open(store).summary.get("basis")
        if basis is None or not fits_basis(store, config, basis):
            return LastThumbnails()
        page = store.fetch(layout.REPORT).read_bytes()
    except (DamagedError, InputError, OSError):
        return LastThumbnails()
    facts = _read_script(page, "data")["thumbnails"]
    uris = zip(facts["sha256"], _read_script(page, "thumbnails"), strict=True)
    return LastThumbnails(facts["side"], {sha256: data_uri for sha256, data_uri in uris if sha256})


def _read_script(page: bytes, name: str) -> Any:
    """Return the JSON of a script element of a page, in which `<` is escaped."""
    _, _, rest = page.partition(b'<script type="application/json" id="%b">' % name.encode())
    return json.loads(rest[: rest.index(b"<")])
