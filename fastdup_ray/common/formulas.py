"""Text in CSV files that a spreadsheet would take for a formula, such as the label `=1+1`.

Labels, reasons and messages (`layout.TEXT_COLUMNS`) that begin like one are written with an apostrophe in front, as
OWASP advises, and read without it. Names of files are data, and are written as they are.
"""

import re

import pyarrow as pa
import pyarrow.compute as pc

FORMULA = "'* *[=+\\-@\t\r\n\uff0b\uff0d\uff1d\uff20]"
"""The beginning of a text that gets an apostrophe, for Python and for the script of a page alike.

The last four characters are full-width forms. Apostrophes before the rest belong to it, so that all texts come back.
"""

_IN_BYTES = "'* *(?:[=+\\-@\t\r\n]|\\xef\\xbc[\\x8b\\x8d\\x9d\\xa0])"
"""The same in the bytes of UTF-8."""

Column = pa.Array | pa.ChunkedArray


def escape_formula(text: str) -> str:
    """Escape a text for a CSV file."""
    return re.sub(f"^({FORMULA})", r"'\1", text)


def unescape_formula(text: str) -> str:
    """Return the text that `escape_formula` was given."""
    return re.sub(f"^'({FORMULA})", r"\1", text)


def escape_formulas(texts: Column) -> Column:
    """Escape a column of texts, raw bytes, for a CSV file."""
    return pc.replace_substring_regex(texts.cast(pa.large_binary()), f"^({_IN_BYTES})", r"'\1")


def unescape_formulas(texts: Column) -> Column:
    """Return the column, as raw bytes, that `escape_formulas` was given."""
    return pc.replace_substring_regex(texts.cast(pa.large_binary()), f"^'({_IN_BYTES})", r"\1")
