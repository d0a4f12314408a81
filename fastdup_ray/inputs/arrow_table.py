"""Files of Arrow's IPC formats, such as those that `save_to_disk` of Hugging Face writes.

A file is a sequence of messages: the schema, dictionaries, and batches of rows. Batches can be read in any order once
it is known where they begin, which their messages say. pyarrow does not tell the places; they are read as described in
https://arrow.apache.org/docs/format/Columnar.html#ipc-streaming-format and in `Message.fbs` of Arrow's format 5.
"""

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import BinaryIO

import pyarrow as pa

_FILE_START = b"ARROW1\0\0"
"""First bytes of the form with a footer, which holds the same messages."""

_CONTINUATION = b"\xff\xff\xff\xff"
"""Before the length of a message since version 0.15."""

_BATCH = 3
"""The kind of a message with a batch of rows."""

_KIND, _HEADER, _BODY_LENGTH = 1, 2, 3
"""Fields of the table Message."""

_ROWS = 0
"""Field of the table RecordBatch."""


@dataclass(frozen=True, slots=True)
class _Message:
    kind: int
    rows: int
    start: int
    end: int


class ArrowTable:
    """A file of Arrow's stream or file format; see `tables.Table`. Each group is one batch, which is held in memory.

    Args:
        file: An open file, seekable. Only what is needed of it is read.

    Raises:
        pa.ArrowInvalid: It is no such file.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        size = file.seek(0, 2)
        file.seek(0)
        begin = len(_FILE_START) if file.read(len(_FILE_START)) == _FILE_START else 0
        messages = list(_iter_messages(file, begin, size))
        self._batches = [message for message in messages if message.kind == _BATCH]
        end_of_head = self._batches[0].start if self._batches else messages[-1].end if messages else begin
        file.seek(begin)
        self._head = file.read(end_of_head - begin)
        with pa.ipc.open_stream(pa.py_buffer(self._head)) as stream:
            self.schema: pa.Schema = stream.schema
        self.starts: Sequence[int] = list(accumulate((message.rows for message in self._batches), initial=0))

    def iter_batches(self, group: int, columns: Sequence[str], size: int) -> Iterator[pa.RecordBatch]:
        """See `tables.Table`."""
        message = self._batches[group]
        self._file.seek(message.start)
        data = pa.py_buffer(self._head + self._file.read(message.end - message.start))
        wanted = pa.ipc.IpcReadOptions(
            included_fields=[self.schema.get_field_index(name) for name in columns], use_threads=False
        )
        batch = pa.ipc.open_stream(data, options=wanted).read_next_batch()
        if batch.num_rows != message.rows:
            raise pa.ArrowInvalid("a batch with another number of rows than its message says")
        batch.validate(full=True)  # offsets that point elsewhere would be read as they are
        return (batch.slice(start, size) for start in range(0, batch.num_rows, size))


def _iter_messages(file: BinaryIO, at: int, size: int) -> Iterator[_Message]:
    """Yield the messages from `at` on. One that ends after the end of the file, `size`, is the last one."""
    while at < size:
        file.seek(at)
        start, head = at, file.read(8)
        is_old = head[:4] != _CONTINUATION
        length = int.from_bytes(head[:4] if is_old else head[4:], "little")
        if length == 0:
            return
        metadata = file.read(0 if length > size - at else length - 4 * is_old)
        try:
            message = _Table((head[4:] if is_old else b"") + metadata)
            kind, body = message.read(_KIND, "B"), message.read(_BODY_LENGTH, "q")
            rows = message.follow(_HEADER).read(_ROWS, "q") if kind == _BATCH else 0
        except struct.error:
            raise pa.ArrowInvalid("a message that is not one of Arrow") from None
        if body < 0 or rows < 0:
            raise pa.ArrowInvalid("a message with a negative length")
        at += (4 if is_old else 8) + length + body
        yield _Message(kind, rows, start, at)


class _Table:
    """A table of FlatBuffers: https://flatbuffers.dev/internals/."""

    def __init__(self, data: bytes, at: int | None = None) -> None:
        self._data = data
        self._at: int = struct.unpack_from("<I", data)[0] if at is None else at
        self._fields: int = self._at - struct.unpack_from("<i", data, self._at)[0]

    def read(self, field: int, form: str) -> int:
        """Return an integer; 0, the default, if it is left out."""
        place = self._find(field)
        value: int = struct.unpack_from(f"<{form}", self._data, place)[0] if place else 0
        return value

    def follow(self, field: int) -> "_Table":
        """Return the table that a field refers to."""
        place = self._find(field)
        return _Table(self._data, place + int(struct.unpack_from("<I", self._data, place)[0]))

    def _find(self, field: int) -> int:
        slot = self._fields + 4 + 2 * field
        if self._fields < 0 or slot + 2 > self._fields + struct.unpack_from("<H", self._data, self._fields)[0]:
            return 0
        offset: int = struct.unpack_from("<H", self._data, slot)[0]
        return self._at + offset if offset else 0
