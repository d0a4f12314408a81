"""Thumbnails of the report that the last run wrote, so that the next report need not decode the same images again."""

import json
from collections.abc import Iterable
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
        data_uris: By the name of an image, as text, and its sha256.
    """

    side: int = 0
    data_uris: dict[tuple[str, str], str] = field(default_factory=dict)

    def find(self, names: Iterable[str], digests: Iterable[str | None], side: int) -> list[str | None]:
        """Return the data URI of each of some images; None where a thumbnail of that size has to be made.

        Args:
            names: Names of the images, as text.
            digests: Their sha256.
            side: Largest width and height of the thumbnails.
        """
        known = self.data_uris if side == self.side else {}
        return [known.get((name, sha256 or "")) for name, sha256 in zip(names, digests, strict=True)]


def read_last_thumbnails(store: Store, config: RunConfig) -> LastThumbnails:
    """Read the thumbnails of the report in a work_dir, if the same code made it and it is as it was written.

    Then it has, of an image with the same name and content, the thumbnail that would be made now.

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
    data, uris = (_read_script(page, name) for name in ("data", "thumbnails"))
    images = data["pictures"]
    columns = (images[column] for column in ("folder", "base", "hex", "sha256", "thumb"))
    return LastThumbnails(
        data["side"],
        {
            (images["folders"][folder] + base, sha256): uris[thumb]
            for folder, base, name_bytes, sha256, thumb in zip(*columns, strict=True)
            if thumb >= 0 and sha256 and not name_bytes
        },
    )


def _read_script(page: bytes, name: str) -> Any:
    """Return the JSON of a script element of a page, in which `<` is escaped."""
    _, _, rest = page.partition(b'<script type="application/json" id="%b">' % name.encode())
    return json.loads(rest[: rest.index(b"<")])
