"""The images of a Dataset that a run compares, in Ray's object store."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import ray
from ray.data import Dataset

from fastdup_ray.common.access import Access
from fastdup_ray.common.records import ImageRef
from fastdup_ray.data.columns import RowColumns, make_ref
from fastdup_ray.errors import BadImageError, ErrorCode
from fastdup_ray.inputs import ReadEntry, read_entry

ROWS_AT_ONCE = 64
"""Images that the driver gets at a time to put them into the object store."""


@dataclass(frozen=True)
class HeldReader:
    """Reads images from the object store.

    Attributes:
        objects: Name of a row -> its image.
    """

    objects: Mapping[str, "ray.ObjectRef[bytes]"]

    def __call__(self, ref: ImageRef) -> bytes:
        """Return the bytes of an image; raise `BadImageError` if it is not held."""
        if ref.uri not in self.objects:
            raise BadImageError(ErrorCode.MISSING, "the row was not there when the Dataset was read again")
        data: bytes = ray.get(self.objects[ref.uri])
        return data


class HeldImages:
    """An `ImageHolder` for the rows of a Dataset, which is executed again to get the images that are wanted.

    Args:
        dataset: The Dataset.
        columns: Its columns; one names the rows.
        access: How buckets are accessed, if the images are paths.
    """

    def __init__(self, dataset: Dataset, columns: RowColumns, access: Access) -> None:
        self._dataset, self._columns, self._access = dataset, columns, access
        self._objects: dict[str, Any] = {}

    def hold(self, names: Collection[str]) -> None:
        """Put those of the images into the object store that are not there yet."""
        missing = pa.array([name for name in names if name not in self._objects], pa.large_string())
        if not len(missing):
            return
        image, name = self._columns.image, str(self._columns.name)
        rows = self._dataset.select_columns(list({image, name}))
        rows = rows.map_batches(partial(_select, column=name, names=missing), batch_format="pyarrow")
        batches: Iterable[Any] = rows.iter_batches(batch_size=ROWS_AT_ONCE, batch_format="pyarrow")
        for batch in batches:
            for key, value in zip(batch[name].to_pylist(), batch[image], strict=True):
                try:
                    data = read_entry(make_ref(0, value.as_py(), self._access), self._access)
                except BadImageError:
                    continue  # it cannot be compared
                self._objects[str(key)] = ray.put(data)

    def make_reader(self, names: Iterable[str] | None = None) -> ReadEntry:
        """Return what reads some of the images, or all that are held, in any process of this Ray."""
        if names is None:
            return HeldReader(dict(self._objects))
        return HeldReader({name: self._objects[name] for name in names if name in self._objects})


def _select(batch: pa.Table, column: str, names: pa.Array) -> pa.Table:
    return batch.filter(is_among(batch[column], names))


def is_among(column: pa.ChunkedArray, names: pa.Array) -> pa.ChunkedArray:
    """Return (n,) bool: whether each name of a row, of any type, is one of some texts."""
    return pc.is_in(column.cast(pa.large_string()), value_set=names)
