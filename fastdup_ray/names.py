r"""Names of files and objects, as text in this process and as UTF-8 everywhere else.

In this process a name is what `os` takes: its bytes, decoded as the locale says (`os.fsdecode`). Lists, archives, CSV
files and S3 have UTF-8, whatever the locale is. Where the locale has UTF-8, or Python is in its UTF-8 mode, both are
the same.
"""

import os
import sys

_UTF8 = sys.getfilesystemencoding() == "utf-8"


def from_utf8(text: str) -> str:
    """The name that `text` stands for, which was decoded as UTF-8 with surrogates for all other bytes."""
    return text if _UTF8 or text.isascii() else os.fsdecode(text.encode("utf-8", "surrogateescape"))


def to_utf8(name: str) -> str:
    """The opposite; a text that can be no name here stays as it is."""
    if _UTF8 or name.isascii():
        return name
    try:
        return os.fsencode(name).decode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return name


def printable(name: str) -> str:
    r"""A name for JSON and parquet: bytes that are not UTF-8 as `\xNN`."""
    return to_utf8(name).encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def is_utf8(name: str) -> bool:
    """Whether the bytes of a name are UTF-8."""
    return printable(name) == to_utf8(name)
