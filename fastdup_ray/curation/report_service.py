"""What `serve` answers with: the page, the plan, and whole pictures of one finished run."""

import base64
import hashlib
import io
import os
import re
import threading
from collections import defaultdict
from dataclasses import replace
from html import unescape
from typing import BinaryIO, NamedTuple

from fastdup_ray.common import layout
from fastdup_ray.common.records import ImageRef
from fastdup_ray.curation.file_ops.posix_file import Identity, get_inode
from fastdup_ray.curation.finished_run import read_finished_run
from fastdup_ray.curation.plan_file import PlanRow, plan_from_json, plan_to_json, read_plan, write_plan
from fastdup_ray.curation.provenance import carry_over
from fastdup_ray.errors import BadImageError, ErrorCode, InputError
from fastdup_ray.extract.thumbnails import MAX_PIXELS, make_thumbnail_of_file
from fastdup_ray.inputs import find_frame, open_entry, stat
from fastdup_ray.inputs.video import hash_frame
from fastdup_ray.s3 import DEFAULT_ACCESS, Access, is_s3
from fastdup_ray.storage import open_store
from fastdup_ray.storage.tables import explain_damage

_AS_THEY_ARE = {
    "JPEG": "image/jpeg",
    "MPO": "image/jpeg",
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

_ANNOUNCED = '<meta name="fastdup-server" data-plan="plan" data-picture="picture/">'
"""By this the page knows that it is served: where to get and put the plan, and where pictures are, by their row.

Relative to where the page itself is.
"""


class Page(NamedTuple):
    """policy: the Content-Security-Policy that it needs."""

    policy: str
    html: bytes


class PlanSnapshot(NamedTuple):
    """tag: the same as long as the plan is. text: JSON."""

    tag: str
    text: str


class StaleError(Exception):
    """What would be replaced is not what the page has seen."""


class ReportService:
    """A finished run with a report. Raises `InputError` where there is none."""

    def __init__(self, work_dir: str | os.PathLike[str], access: Access = DEFAULT_ACCESS):
        self._store, self._access = open_store(os.path.expanduser(work_dir), access), access
        self._run = read_finished_run(self._store)
        if not self._store.exists(layout.REPORT):
            raise InputError(f"No {layout.REPORT} in {self._store.location!r}: run again, without --no-report.")
        self._rows = {self._run.name(row): row for row in range(len(self._run.names))}
        self.max_pixels: int = self._run.config.get("max_pixels", MAX_PIXELS)
        self._saving, self._digests = threading.Lock(), _DigestCache()

    @property
    def plan_path(self) -> str:
        return os.path.join(self._store.location, layout.PLAN_CSV)

    def render_page(self) -> Page:
        """The report, which may ask this server for the plan and for pictures, and nobody for anything else.

        The policy inside the page is for opening it as a file, and allows no request. Here the header replaces it.
        """
        path = self._store.fetch(layout.REPORT)
        with explain_damage(path):
            html = path.read_text(encoding="utf-8")
        found = _POLICY.search(html)
        if found is None:
            raise InputError(f"{layout.REPORT} in {self._store.location!r} is of another version: run again.")
        policy = dict(part.strip().partition(" ")[::2] for part in unescape(found[1]).split(";") if part.strip())
        policy["img-src"] = f"{policy.get('img-src', '')} 'self'"
        policy |= {"connect-src": "'self'", "frame-ancestors": "'none'"}
        served = html[: found.start()] + _ANNOUNCED + html[found.end() :]
        return Page("; ".join(f"{name} {values}" for name, values in policy.items()), served.encode())

    def read_plan(self) -> PlanSnapshot:
        """The saved plan, with no picture where there is none. Raises `InputError` where it cannot be read.

        Of one that an earlier run made, the rows of images that did not change since.
        """
        saved = self._saved_rows()
        tag = f'"{hashlib.sha256(plan_to_json(saved).encode()).hexdigest()}"'
        return PlanSnapshot(tag, plan_to_json(carry_over(saved, self._run.seen)))

    def count_left_out(self) -> int:
        """Return how many rows of the saved plan are of images that changed since, as far as it can be read."""
        try:
            rows = self._saved_rows()
        except InputError:
            return 0
        return len(rows) - len(carry_over(rows, self._run.seen))

    def _saved_rows(self) -> list[PlanRow]:
        return read_plan(self.plan_path, self._access) if self._store.exists(layout.PLAN_CSV) else []

    def save_plan(self, text: str, instead_of: str) -> PlanSnapshot:
        """Replace the saved plan by this one, as JSON.

        The facts by which an image is known again, and whether it is a reference, are the run's, not the page's.

        Args:
            text: What `plan_to_json` makes.
            instead_of: The tag of the plan that was edited to become this one, also where that was empty.

        Raises:
            InputError: where the plan is not valid.
            StaleError: where another plan is saved by now.
        """
        rows = plan_from_json(text, "the plan of the page")
        for row in rows:
            if row.filename not in self._rows:
                raise InputError(f"The plan names {row.filename!r}, which is no picture of this run.")
        facts = self._run.facts([self._rows[row.filename] for row in rows])
        rows = [replace(row, **known) for row, known in zip(rows, facts, strict=True)]
        with self._saving:
            if self.read_plan().tag != instead_of:  # one that cannot be read is somebody's work, too
                raise StaleError("The plan was changed elsewhere since this page got it: load the page again.")
            write_plan(self._store, layout.PLAN_CSV, rows)
            return self.read_plan()

    def read_image(self, row: int) -> tuple[str, bytes]:
        """Return the content type and the bytes of an image in full size; what browsers do not show becomes a WebP.

        The file must be the one that the run saw. Where the run knows its digest, that decides, whatever the time of
        the file says; of an object on S3 the ETag; else size and time. Of features of the user's own no run saw any
        file: it is shown as it is now, converted. To be called inside `careful_pillow`.

        Raises:
            BadImageError: where there is no such image, or it cannot be read; `CHANGED` where it is another file.
        """
        if not 0 <= row < len(self._rows):
            raise BadImageError(ErrorCode.MISSING, "no such picture")
        name = self._run.name(row)
        facts = self._run.images.slice(row, 1).select(["size", "mtime_or_etag", "sha256", "format"]).to_pylist()[0]
        by_digest = facts["sha256"] is not None and not is_s3(name)
        ref = ImageRef(name, facts["size"] or 0, facts["mtime_or_etag"] or "")
        if by_digest and (now := stat(name, self._access)).size == ref.size:
            ref = now
        milliseconds = find_frame(name, self._access)[1]
        with open_entry(ref, self._access) as file:
            if by_digest and self._digests.get(file, milliseconds) != facts["sha256"]:
                raise BadImageError(ErrorCode.CHANGED, "other bytes than at the run")
            if facts["format"] in _AS_THEY_ARE and milliseconds is None:
                return _AS_THEY_ARE[facts["format"]], file.read()
            made = make_thumbnail_of_file(file, name, self.max_pixels, _LARGEST_SIDE, self._access)
        if made.problem:
            raise BadImageError(ErrorCode.READ_FAILED, made.problem)
        head, _, data = made.data_uri.partition(",")
        return head.removeprefix("data:").removesuffix(";base64"), base64.b64decode(data)


class _DigestCache:
    """Digests of open files: each file is read once, as long as it stays the same, and keeps no other one waiting."""

    def __init__(self) -> None:
        self._known: dict[Identity, str] = {}
        self._locks: defaultdict[Identity, threading.Lock] = defaultdict(threading.Lock)
        self._guard = threading.Lock()

    def get(self, file: BinaryIO, milliseconds: int | None) -> str:
        """Return the digest of an image, or of a frame of a video, as a run records it; `file` is at its beginning."""
        try:
            identity = get_inode(os.fstat(file.fileno()))
        except io.UnsupportedOperation:  # a member of an archive, which is in memory
            digest = _hash_file(file)
        else:
            with self._guard:
                lock = self._locks[identity]
            with lock:
                if identity not in self._known:
                    self._known[identity] = _hash_file(file)
                digest = self._known[identity]
        return digest if milliseconds is None else hash_frame(digest, milliseconds)


def _hash_file(file: BinaryIO) -> str:
    digest = hashlib.file_digest(file, "sha256").hexdigest()
    file.seek(0)
    return digest
