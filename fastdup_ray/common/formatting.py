"""Numbers and values in a form for people."""

import os
import reprlib
from collections.abc import Sequence, Sized
from contextlib import suppress

_PLAIN = (str, bytes, int, float, complex, list, tuple, dict, set, frozenset, os.PathLike, type(None))

_SHOWN = 5
"""Names of many that a message has."""

_SHORT = reprlib.Repr()
_SHORT.maxlist = _SHORT.maxtuple = _SHORT.maxset = _SHORT.maxfrozenset = _SHORT.maxdict = 4
_SHORT.maxstring = _SHORT.maxother = 200


def format_bytes(size: int) -> str:
    """Return a number of bytes in a form for people, such as "2.7 MB" (1 kB = 1000 bytes)."""
    if size < 1000:
        return f"{size} bytes"
    number, unit = float(size), 0
    while number >= 999.5:
        number, unit = number / 1000, unit + 1
    return f"{number:.3g} {' kMGTPE'[unit]}B"


def format_count(number: int, noun: str) -> str:
    """Return a number and a noun, such as `1 image` and `1,503 images`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def format_seconds(seconds: float) -> str:
    """Return a duration in a form for people, such as "2.1 s", "29 s", "3 min 5 s" and "2 h 7 min"."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    minutes, whole = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {whole} s" if minutes else f"{whole} s"


def format_names(names: Sequence[str]) -> str:
    """Return names in quotation marks with commas in between, of many the first few and the number of the others."""
    more = f" and {len(names) - _SHOWN:,} more" if len(names) > _SHOWN else ""
    return ", ".join(map(repr, names[:_SHOWN])) + more


def format_value(value: object) -> str:
    """Return a value as Python writes it, in one short line: of long lists the beginning, of arrays and tables none."""
    if isinstance(value, Sized) and not isinstance(value, _PLAIN):
        with suppress(TypeError):  # an array without axes
            return f"{type(value).__name__} of {len(value):,}"
    return " ".join(_SHORT.repr(value).split("\n"))
