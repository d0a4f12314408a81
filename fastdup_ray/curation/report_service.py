"""What `serve` responds with: the report, the plan, and full-size images of one finished run."""

import base64
import hashlib
import io
import os
import re
import threading
from collections import defaultdict
from dataclasses import replace
from html import unescape
from typing import IO, BinaryIO, NamedTuple

from fastdup_ray.common import layout
from fastdup_ray.common.access import DEFAULT_ACCESS, Access
from fastdup_ray.common.locations import is_remote
from fastdup_ray.common.records import ImageRef
from fastdup_ray.curation.file_ops.posix_file import Identity, get_inode
from fastdup_ray.curation.finished_run import read_finished_run
from fastdup_ray.curation.plan import Plan
from fastdup_ray.curation.plan_file import dump_rows, read_plan, write_plan
from fastdup_ray.curation.plan_json import iter_json, read_json_plan
from fastdup_ray.curation.provenance import carry_over
from fastdup_ray.errors import BadImageError, ErrorCode, InputError
from fastdup_ray.extract.thumbnails import MAX_PIXELS, make_thumbnail_of_file
from fastdup_ray.inputs import find_part, open_entry, stat
from fastdup_ray.storage import open_store
from fastdup_ray.storage.tables import explain_damage

_BROWSER_FORMATS = {
    "JPEG": "image/jpeg",
    "MPO": "image/jpeg",
    "PNG": "image/png",
    "GIF": "image/gif",
    "WEBP": "image/webp",
    "AVIF": "image/avif",
    "BMP": "image/bmp",
}
"""Content types of the formats, by their names in Pillow, that every browser shows: these are sent as they are."""

_LARGEST_SIDE = 16_383
"""Pixels of the longest side that is sent of other formats: not every browser draws more on a canvas."""

_POLICY = re.compile(r'<meta http-equiv="Content-Security-Policy" content="([^"]*)">')

_SERVER_META = '<meta name="fastdup-server" data-plan="plan" data-picture="picture/">'
"""Tells the page that it is served: where to get and put the plan, and where to get image number n.

The addresses are relative to that of the page.
"""


class Page(NamedTuple):
    """The report as it is served.

    Attributes:
        policy: Its Content-Security-Policy.
        html: UTF-8.
    """

    policy: str
    html: bytes


class PlanSnapshot(NamedTuple):
    """The plan at one moment.

    Attributes:
        tag: An ETag, which changes when the plan does.
        file: JSON, from its beginning.
    """

    tag: str
    file: IO[bytes]


class StaleError(Exception):
    """The saved plan is not the one that the page has seen and would replace."""


class ReportService:
    """The report, the plan and the images of a finished run.

    Args:
        work_dir: A path or URI.
        access: How buckets are accessed.

    Attributes:
        max_pixels: Largest size, in pixels, of an image that is decoded.
        has_plan: Whether there was a saved plan when it was last read.

    Raises:
        InputError: If there is no finished run, or it has no report.
    """

    def __init__(self, work_dir: str | os.PathLike[str], access: Access = DEFAULT_ACCESS) -> None:
        self._store, self._access = open_store(os.path.expanduser(work_dir), access), access
        self._run = read_finished_run(self._store)
        if not self._store.exists(layout.REPORT):
            raise InputError(f"No {layout.REPORT} in {self._store.location!r}: run again with report=True.")
        self.max_pixels: int = self._run.config.get("max_pixels", MAX_PIXELS)
        self.has_plan = False
        self._saving, self._digests = threading.Lock(), _DigestCache()

    @property
    def plan_path(self) -> str:
        """Path or URI of the saved plan."""
        return os.path.join(self._store.location, layout.PLAN_CSV)

    def render_page(self) -> Page:
        """Return the report, with a policy that lets it request the plan and images of this server, and nothing else.

        The policy in the file is for opening it from disk, and allows no requests. Here the header replaces it.

        Raises:
            InputError: If another version of this package wrote the report.
        """
        return self._render(layout.REPORT, self._read_page(layout.REPORT))

    def render_map(self) -> Page | None:
        """Return the map in the same way; None if there is none of this run."""
        html = self._read_page(layout.MAP_HTML) if self._store.exists(layout.MAP_HTML) else ""
        return self._render(layout.MAP_HTML, html) if f'data-run="{self._run.digest}"' in html else None

    def _read_page(self, name: str) -> str:
        path = self._store.fetch(name)
        with explain_damage(path):
            return path.read_text(encoding="utf-8")

    def _render(self, name: str, html: str) -> Page:
        match = _POLICY.search(html)
        if match is None:
            raise InputError(f"{name} in {self._store.location!r} was written by another version: run again.")
        policy = dict(part.strip().partition(" ")[::2] for part in unescape(match[1]).split(";") if part.strip())
        policy["img-src"] = f"{policy.get('img-src', '')} 'self'"
        policy |= {"connect-src": "'self'", "frame-ancestors": "'none'"}
        served = html[: match.start()] + _SERVER_META + html[match.end() :]
        return Page("; ".join(f"{name} {values}" for name, values in policy.items()), served.encode())

    def read_plan(self) -> PlanSnapshot:
        """Return the saved plan; an empty one if there is none.

        Of a plan of an earlier run, only the rows of images that did not change since are returned.

        Raises:
            InputError: If the saved plan cannot be read.
        """
        saved, file = self._read_saved(), self.scratch()
        dump_rows(file, carry_over(saved, self._run.seen), as_json=True)
        file.seek(0)
        return PlanSnapshot(_make_tag(saved), file)

    def scratch(self) -> IO[bytes]:
        """Open an empty, unnamed file, see `Store.scratch`."""
        return self._store.scratch()

    def count_left_out(self) -> int:
        """Return how many rows of the saved plan are of images that changed since; 0 if it cannot be read."""
        try:
            saved = self._read_saved()
        except InputError:
            return 0
        return len(saved) - sum(1 for _ in carry_over(saved, self._run.seen))

    def _read_saved(self) -> Plan:
        self.has_plan = self._store.exists(layout.PLAN_CSV)
        return read_plan(self.plan_path, self._access) if self.has_plan else Plan([])

    def save_plan(self, file: IO[bytes], instead_of: str) -> str:
        """Replace the saved plan.

        What identifies an image, and whether it is a reference, is taken from the run and not from the page.

        Args:
            file: The new plan, as JSON.
            instead_of: The tag of the plan that it replaces; an empty plan has one, too.

        Returns:
            The tag of the plan that is saved now.

        Raises:
            InputError: If the plan is not valid.
            StaleError: If another plan was saved meanwhile.
        """
        plan = read_json_plan(file, "the plan of the page", self.scratch)
        for row, facts in self._run.seen.iter_facts(plan):
            if facts is None:
                raise InputError(f"The plan has {row.filename!r}, which is not an image of this run.")
        rows = (replace(row, **facts) for row, facts in self._run.seen.iter_facts(plan) if facts is not None)
        with self._saving:
            if _make_tag(self._read_saved()) != instead_of:  # raises if it cannot be read: that may be somebody's work
                raise StaleError("The plan was changed elsewhere: reload the page.")
            write_plan(self._store, layout.PLAN_CSV, rows)
            return _make_tag(self._read_saved())

    def read_image(self, index: int) -> tuple[str, bytes]:
        """Return the content type and the bytes of an image in full size.

        Images that browsers do not show are converted to WebP. The file has to be the one that the run saw: if the run
        knows its digest, that decides, whatever its mtime; for a remote one the ETag; else size and mtime. An image
        of embeddings of the user's own, whose file no run has read, is shown as it is now, and converted. To be called
        inside `strict_pillow`.

        Args:
            index: Its index in features.dat.

        Raises:
            BadImageError: If there is no such image, or it cannot be read; with `CHANGED` if it is another file now.
        """
        if not 0 <= index < len(self._run.names):
            raise BadImageError(ErrorCode.MISSING, "no such image")
        name = self._run.name(index)
        facts = self._run.images.slice(index, 1).select(["size", "mtime_or_etag", "sha256", "format"]).to_pylist()[0]
        by_digest = facts["sha256"] is not None and not is_remote(name)
        ref = ImageRef(name, facts["size"] or 0, facts["mtime_or_etag"] or "")
        if by_digest and (now := stat(name, self._access)).size == ref.size:
            ref = now
        part = find_part(name, self._access)
        with open_entry(ref, self._access) as file:
            if by_digest and part.hash(self._digests.get(file)) != facts["sha256"]:
                raise BadImageError(ErrorCode.CHANGED, "different content")
            if facts["format"] in _BROWSER_FORMATS and part.is_whole:
                return _BROWSER_FORMATS[facts["format"]], file.read()
            thumbnail = make_thumbnail_of_file(file, name, self.max_pixels, _LARGEST_SIDE, self._access)
        if thumbnail.problem:
            raise BadImageError(ErrorCode.READ_FAILED, thumbnail.problem)
        head, _, data = thumbnail.data_uri.partition(",")
        return head.removeprefix("data:").removesuffix(";base64"), base64.b64decode(data)


def _make_tag(plan: Plan) -> str:
    digest = hashlib.sha256()
    for part in iter_json(plan):
        digest.update(part.encode())
    return f'"{digest.hexdigest()}"'


class _DigestCache:
    """Digests of open files. Each file is read once while it does not change, and no file waits for another one."""

    def __init__(self) -> None:
        self._computed: dict[Identity, str] = {}
        self._locks: defaultdict[Identity, threading.Lock] = defaultdict(threading.Lock)
        self._guard = threading.Lock()

    def get(self, file: BinaryIO) -> str:
        """Return the digest of a file, and rewind it."""
        try:
            identity = get_inode(os.fstat(file.fileno()))
        except io.UnsupportedOperation:  # a member of an archive is in memory
            return _hash_file(file)
        else:
            with self._guard:
                lock = self._locks[identity]
            with lock:
                if identity not in self._computed:
                    self._computed[identity] = _hash_file(file)
                return self._computed[identity]


def _hash_file(file: BinaryIO) -> str:
    digest = hashlib.sha256()
    while block := file.read(1 << 18):
        digest.update(block)
    file.seek(0)
    return digest.hexdigest()
