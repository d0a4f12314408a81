"""Read a JSON object whose values are long arrays, such as a COCO file, one element at a time.

The parser of the standard library holds a document as a whole, which takes gigabytes for a million annotations.
"""

import json
import re
from collections.abc import Iterator
from typing import Any, NamedTuple, TextIO

_CHUNK = 1 << 20
"""Characters that are read at a time; more where a value is longer."""

_CUT = 16
"""At most so many characters before the end the parser stops if a word or a number is cut."""

_UNTERMINATED = "Unterminated string"
"""Beginning of the parser's message for a string without its end; the position is that of its beginning."""

_BLANK = re.compile(r"[ \t\n\r]*")


class Element(NamedTuple):
    """An element of an array.

    Attributes:
        value: What it is.
        text: How it is written.
    """

    value: Any
    text: str


class JsonMember(NamedTuple):
    """A member of the object.

    Attributes:
        key: Its name.
        text: How its value is written; "" for an array.
        elements: The elements of an array, which have to be read before the next member; None for other values.
    """

    key: str
    text: str
    elements: Iterator[Element] | None


def iter_members(file: TextIO) -> Iterator[JsonMember]:
    """Yield the members of a JSON object.

    Args:
        file: The document.

    Raises:
        ValueError: It is not a JSON object; the message says where.
    """
    reader = _Reader(file)
    reader.expect("{")
    if reader.accept("}"):
        return
    keys: set[str] = set()
    while True:
        key = reader.read_value().value
        if not isinstance(key, str):
            raise reader.fail("a name in quotes")
        if key in keys:
            raise reader.fail(f"another name than {key!r}, which it has twice,")
        keys.add(key)
        reader.expect(":")
        if reader.accept("["):
            elements = _iter_elements(reader)
            yield JsonMember(key, "", elements)
            for _ in elements:  # those that nobody has read
                pass
        else:
            yield JsonMember(key, reader.read_value().text, None)
        if not reader.accept(","):
            break
    reader.expect("}")
    reader.expect_end()


def _iter_elements(reader: "_Reader") -> Iterator[Element]:
    if reader.accept("]"):
        return
    while True:
        yield reader.read_value()
        if not reader.accept(","):
            reader.expect("]")
            return


class _Reader:
    """The part of a document that is at work."""

    def __init__(self, file: TextIO) -> None:
        self._file, self._decoder = file, json.JSONDecoder()
        self._text, self._place, self._before = "", 0, 0

    def accept(self, mark: str) -> bool:
        """Skip blanks; return whether a character comes next, and skip it, too."""
        self._skip_blanks()
        if self._text[self._place : self._place + 1] != mark:
            return False
        self._place += 1
        return True

    def expect(self, mark: str) -> None:
        """Skip a character; raise `ValueError` if it does not come next."""
        if not self.accept(mark):
            raise self.fail(repr(mark))

    def expect_end(self) -> None:
        """Raise `ValueError` unless only blanks are left."""
        self._skip_blanks()
        if self._place < len(self._text):
            raise self.fail("the end")

    def read_value(self) -> Element:
        """Return the next value, which something follows."""
        self._skip_blanks()
        while True:
            try:
                value, end = self._decoder.raw_decode(self._text, self._place)
            except json.JSONDecodeError as error:
                is_cut = error.msg.startswith(_UNTERMINATED) or error.pos >= len(self._text) - _CUT
                if is_cut and self._read_on():
                    continue
                self._place = error.pos
                raise self.fail(error.msg.lower(), expected=False) from None
            except RecursionError:
                raise self.fail("nested too deeply", expected=False) from None
            if end >= len(self._text) - _CUT and self._read_on():  # a number may go on, as 1 to 1e5
                continue
            element = Element(value, self._text[self._place : end])
            self._place = end
            return element

    def fail(self, what: str, *, expected: bool = True) -> ValueError:
        """Return the error for what is wrong at this place."""
        return ValueError(f"{'expected ' if expected else ''}{what} at character {self._before + self._place:,}")

    def _skip_blanks(self) -> None:
        while True:
            match = _BLANK.match(self._text, self._place)
            self._place = match.end() if match else self._place
            if self._place < len(self._text) or not self._read_on():
                return

    def _read_on(self) -> bool:
        """Read at least as much again as is at work, so that long values take linear time; return False at the end."""
        more = self._file.read(max(_CHUNK, len(self._text) - self._place))
        if more:
            self._before += self._place
            self._text, self._place = self._text[self._place :] + more, 0
        return bool(more)
