"""Annotations: each box in them is an image.

A folder, or a YAML file, is of YOLO; a file with a JSON object is of COCO; every other file is a CSV.
"""

import io
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice
from typing import TextIO, TypeAlias

import pyarrow as pa
import pyarrow.compute as pc

from fastdup_ray.common.access import DEFAULT_ACCESS, Access
from fastdup_ray.common.events import log
from fastdup_ray.common.locations import is_remote
from fastdup_ray.common.names import escape_non_utf8, from_utf8
from fastdup_ray.common.records import ImageRef
from fastdup_ray.common.requests import LISTING_THREADS
from fastdup_ray.errors import InputError
from fastdup_ray.inputs.box_csv import read_box_csv
from fastdup_ray.inputs.box_table import BoxTable
from fastdup_ray.inputs.coco import read_coco
from fastdup_ray.inputs.list_file import is_pipe, open_path
from fastdup_ray.inputs.sources import is_file, stat
from fastdup_ray.inputs.suffixes import is_archive_name
from fastdup_ray.inputs.yolo import YoloDataset
from fastdup_ray.inputs.yolo_classes import is_yaml_name
from fastdup_ray.storage.tables import encode_names

Names: TypeAlias = pa.Array | pa.ChunkedArray
"""(n,) paths and URIs as raw bytes."""

_PHOTOS_AT_ONCE = 4096
"""Photos that are looked up at once, if each takes a request."""

_HEAD = 4096
"""Bytes at the beginning of a file that are read to detect its format."""


_FILE_SUFFIXES = (".json", ".csv")
"""Suffixes of URIs that are no prefix of a bucket."""


@dataclass(frozen=True)
class Annotations:
    """An annotation file, or a folder of them, and where its photos are.

    Attributes:
        path: Path or URI of the file or folder.
        root: The folder, bucket prefix or archive that the names of photos in it are relative to.
        access: How buckets are accessed.
    """

    path: str
    root: str
    access: Access = DEFAULT_ACCESS

    @cached_property
    def _has_archive(self) -> bool:
        return is_archive_name(self.root) and is_file(self.root, self.access)

    @cached_property
    def yolo(self) -> YoloDataset | None:
        """The text files of YOLO; None if the annotations are one file with all boxes."""
        if is_yaml_name(self.path) or self._is_folder():
            return YoloDataset(self.path, self.root, self._has_archive, self.access)
        return None

    def _is_folder(self) -> bool:
        if is_remote(self.path):
            is_named_file = self.path.lower().endswith(_FILE_SUFFIXES)  # if it is missing, that is what to say
            return not is_named_file and (self.path.endswith("/") or not is_file(self.path, self.access))
        return os.path.isdir(self.path)

    def check(self) -> None:
        """Raise `InputError` if the file cannot be read, or `root` has no photos; reads the beginning only."""
        if is_pipe(self.path):
            raise InputError(f"Annotations {self.path!r} are a pipe, which can be read only once: save them as a file.")
        if self.yolo is not None:
            self.yolo.check()
        else:
            with self.open():
                pass
        if not self._has_archive and is_file(self.root, self.access):
            raise InputError(
                f"{self.root!r} is a file; with annotations, input_dir is the folder, bucket prefix or archive that "
                "the names of the photos are relative to."
            )

    @contextmanager
    def open(self) -> Iterator[tuple[TextIO, bool]]:
        """Open the file, if all boxes are in one; yield it, and whether it is a COCO file.

        Raises:
            InputError: It cannot be read, or is a JSON array.
        """
        with open_path(self.path, self.access) as file:
            head = file.read(_HEAD).lstrip(b"\xef\xbb\xbf \t\r\n")[:1]
            file.seek(0)
            if head == b"[":
                raise InputError(f"{self.path!r} is a list, such as results of a detector; name a COCO file or a CSV.")
            text = io.TextIOWrapper(file, "utf-8-sig", "surrogateescape", newline="")
            try:
                yield text, head == b"{"
            finally:
                text.detach()

    def read(self) -> BoxTable:
        """Return the boxes.

        Raises:
            InputError: They cannot be read, or are not what they should be.
        """
        if self.yolo is not None:
            return self.yolo.read()
        with self.open() as (text, is_coco):
            return (read_coco if is_coco else read_box_csv)(self.path, text)

    def locate(self, photo: str) -> str:
        """Return the absolute path or URI of a photo, given its name in the file."""
        name = from_utf8(photo)
        if "://" in name or os.path.isabs(name):
            return name
        if self._has_archive:
            return f"{self.root}!/{name}"
        return (
            f"{self.root.rstrip('/')}/{name}"
            if is_remote(self.root)
            else os.path.abspath(os.path.join(self.root, name))
        )

    def names(self, boxes: BoxTable) -> pa.Array:
        """Return (m,) names of the images that boxes are, as raw bytes."""
        return encode_names(
            photo + suffix
            for photo, start, stop in self._iter_photos(boxes)
            for suffix in boxes.iter_suffixes(start, stop)
        )

    def _iter_photos(
        self, boxes: BoxTable, keep: Callable[[str], bool] = lambda _: True
    ) -> Iterator[tuple[str, int, int]]:
        """Yield the path or URI of each photo, and the range of its boxes."""
        return ((self.locate(photo), start, stop) for photo, start, stop in boxes.iter_photos() if keep(photo))

    def list_boxes(self, keep: Callable[[str], bool] = lambda _: True) -> Iterator[ImageRef]:
        """List the boxes as images, photo by photo in the order of the file. What is left out is logged.

        Args:
            keep: Whether to use a photo, by its name in the file.

        Yields:
            The entries; those of a photo that does not exist have no token.
        """
        boxes = self.read()
        self._log_left_out(boxes)
        for (_, start, stop), ref in _stat_photos(self._iter_photos(boxes, keep), self.access):
            for suffix in boxes.iter_suffixes(start, stop):
                yield replace(ref, uri=ref.uri + suffix)

    def _log_left_out(self, boxes: BoxTable) -> None:
        if boxes.left_out:
            reasons = ", ".join(f"{reason} {count:,}" for reason, count in boxes.left_out.items())
            count = sum(boxes.left_out.values())
            total = f"{count:,} of {len(boxes) + count:,}"
            log.warning("%s annotations in %r are left out: %s.", total, self.path, reasons)
        if boxes.unmatched:
            log.warning("Text files in %r without a photo in %r: %s.", self.path, self.root, f"{boxes.unmatched:,}")

    def read_labels(self, names: Names) -> pa.Array:
        """Return (n,) the category of each of n images, as large_string; null for those that are no box of the file."""
        boxes = self.read()
        labels = pa.array([escape_non_utf8(from_utf8(label)) for label in boxes.labels], pa.large_string())
        of_box = labels.take(pa.array(boxes.label, mask=boxes.label < 0))
        positions = pc.index_in(names, self.names(boxes).cast(names.type))
        found = of_box.take(positions)
        return found.combine_chunks() if isinstance(found, pa.ChunkedArray) else found


def _stat_photos(
    photos: Iterable[tuple[str, int, int]], access: Access
) -> Iterator[tuple[tuple[str, int, int], ImageRef]]:
    """Yield photos, and their entries; objects are looked up many at a time."""
    rest = iter(photos)
    with ThreadPoolExecutor(LISTING_THREADS) as pool:
        while batch := list(islice(rest, _PHOTOS_AT_ONCE)):
            names = [photo for photo, _, _ in batch]
            find = pool.map if any(map(is_remote, names)) else map
            yield from zip(batch, find(lambda name: stat(name, access), names), strict=True)
