"""What `serve` answers with: the page, the plan, and whole pictures of one finished run."""

import base64
import os
import re
import threading
from dataclasses import replace
from typing import NamedTuple

from fastdup_ray import layout
from fastdup_ray.actions.finished import read_finished
from fastdup_ray.actions.plan import plan_from_json, plan_to_json, read_plan, write_plan
from fastdup_ray.errors import BadImageError, ErrorCode, InputError
from fastdup_ray.extract.decode import careful_pillow
from fastdup_ray.inputs import frame_of, read
from fastdup_ray.records import ImageRef
from fastdup_ray.report.thumbnails import MAX_PIXELS, make_thumbnail
from fastdup_ray.storage import open_store

_AS_THEY_ARE = {
    "JPEG": "image/jpeg",
    "PNG": "image/png",
    "GIF": "image/gif",
    "WEBP": "image/webp",
    "AVIF": "image/avif",
    "BMP": "image/bmp",
}
"""Formats, as Pillow calls them, that every browser shows."""

_LARGEST_SIDE = 16_383
"""Pixels a side of the largest WebP."""

_POLICY = re.compile(r'<meta http-equiv="Content-Security-Policy" content="([^"]*)">')


class Page(NamedTuple):
    """policy: the Content-Security-Policy that it needs."""

    policy: str
    html: bytes


class Served:
    """A finished run with a report. Raises `InputError` where there is none."""

    def __init__(self, work_dir: str | os.PathLike[str]):
        self._store = open_store(os.path.expanduser(work_dir))
        self._run = read_finished(self._store)
        if not self._store.exists(layout.REPORT):
            raise InputError(f"No {layout.REPORT} in {self._store.location!r}: run again, without --no-report.")
        self._rows = {self._run.name(row): row for row in range(len(self._run.names))}
        self._max_pixels = self._run.config.get("max_pixels", MAX_PIXELS)
        self._saving = threading.Lock()

    @property
    def plan_path(self) -> str:
        return os.path.join(self._store.location, layout.PLAN_CSV)

    def page(self) -> Page:
        """The report, which may ask this server for the plan and for pictures, and nobody for anything else.

        Its own policy stands in it for when it is opened as a file, and allows no request: here the header takes over.
        """
        html = self._store.fetch(layout.REPORT).read_text(encoding="utf-8")
        found = _POLICY.search(html)
        policy = dict(
            part.strip().partition(" ")[::2] for part in (found[1] if found else "").split(";") if part.strip()
        )
        policy |= {
            "default-src": "'none'",
            "img-src": "'self' data:",
            "connect-src": "'self'",
            "base-uri": "'none'",
            "form-action": "'none'",
            "frame-ancestors": "'none'",
        }
        text = _POLICY.sub("", html, count=1)
        return Page("; ".join(f"{name} {values}" for name, values in policy.items()), text.encode())

    def plan(self) -> str | None:
        """The saved plan as JSON; None where there is none. Raises `InputError` where it cannot be read."""
        return plan_to_json(read_plan(self.plan_path)) if self._store.exists(layout.PLAN_CSV) else None

    def save(self, text: str) -> None:
        """Puts a plan, as JSON, in the place of the saved one, whole; raises `InputError` where it cannot be meant.

        By what a picture is known again, and whether it is a reference, the run says, not the page.
        """
        rows = plan_from_json(text, "the plan of the page")
        for row in rows:
            if row.filename not in self._rows:
                raise InputError(f"The plan names {row.filename!r}, which is no picture of this run.")
        facts = self._run.facts([self._rows[row.filename] for row in rows])
        rows = [replace(row, **known) for row, known in zip(rows, facts, strict=True)]
        with self._saving:
            write_plan(self._store, layout.PLAN_CSV, rows)

    def picture(self, row: int) -> tuple[str, bytes]:
        """Content type and bytes of a picture in its full size, as the run saw it.

        What browsers do not show is made a WebP. Raises `BadImageError`, also where there is no such picture.
        """
        if not 0 <= row < len(self._rows):
            raise BadImageError(ErrorCode.MISSING, "no such picture")
        name = self._run.name(row)
        facts = self._run.images.slice(row, 1).select(["size", "mtime_or_etag", "format"]).to_pylist()[0]
        if facts["format"] in _AS_THEY_ARE and frame_of(name)[1] is None:
            ref = ImageRef(name, facts["size"], facts["mtime_or_etag"])
            return _AS_THEY_ARE[facts["format"]], read(ref)
        with careful_pillow(self._max_pixels):
            made = make_thumbnail(name, self._max_pixels, _LARGEST_SIDE)
        if made.problem:
            raise BadImageError(ErrorCode.READ_FAILED, made.problem)
        head, _, data = made.data_uri.partition(",")
        return head.removeprefix("data:").removesuffix(";base64"), base64.b64decode(data)
