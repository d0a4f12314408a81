r"""Names of files and objects: as text in this process, and as UTF-8 everywhere else.

In this process a name is what `os` takes: its bytes, decoded with the encoding of the locale (`os.fsdecode`). Lists,
archives, CSV files and S3 use UTF-8 whatever the locale is. If the locale uses UTF-8, or Python is in UTF-8 mode, both
are the same.
"""

import os
import re
import sys
from typing import Any

_UTF8 = sys.getfilesystemencoding() == "utf-8"


def from_utf8(text: str) -> str:
    """Return a name in the encoding of this process, given its bytes decoded as UTF-8 with `surrogateescape`."""
    return text if _UTF8 or text.isascii() else os.fsdecode(text.encode("utf-8", "surrogateescape"))


def to_utf8(name: str) -> str:
    """Undo `from_utf8`; a text that cannot be a name in this locale is returned unchanged."""
    if _UTF8 or name.isascii():
        return name
    try:
        return os.fsencode(name).decode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return name


def escape_non_utf8(name: str) -> str:
    r"""Return a name for JSON and Parquet, with bytes that are not UTF-8 as `\xNN`."""
    return to_utf8(name).encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


_INVISIBLE_RANGES = (
    *((0x00, 0x1F), (0x7F, 0x9F), (0xAD, 0xAD), (0x34F, 0x34F), (0x61C, 0x61C), (0x115F, 0x1160), (0x17B4, 0x17B5)),
    *((0x180B, 0x180F), (0x200B, 0x200F), (0x2028, 0x202E), (0x2060, 0x206F), (0x2800, 0x2800), (0x3164, 0x3164)),
    *((0xFE00, 0xFE0F), (0xFEFF, 0xFEFF), (0xFFA0, 0xFFA0), (0xFFF0, 0xFFFB), (0x1D173, 0x1D17A), (0xE0000, 0xE0FFF)),
)
INVISIBLE = f"[{''.join(f'{chr(first)}-{chr(last)}' for first, last in _INVISIBLE_RANGES)}]"
"""Characters that are invisible, break a line, or reverse the direction of a text (U+202E).

The same pattern serves Python and the script of the report, so it contains the characters themselves, not escapes.
"""
_INVISIBLE = re.compile(INVISIBLE)


def escape_invisible(text: Any) -> str:
    r"""Return a text to display: bytes that are not UTF-8 as `\xNN`, invisible characters as escapes (`\u202e`)."""
    return _INVISIBLE.sub(lambda match: match[0].encode("unicode_escape").decode(), escape_non_utf8(str(text)))


def is_utf8(name: str) -> bool:
    """Return whether the bytes of a name are UTF-8."""
    return escape_non_utf8(name) == to_utf8(name)
