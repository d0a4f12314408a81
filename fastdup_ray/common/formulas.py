"""Escapes for texts in CSV files that a spreadsheet would run as a formula, such as the label `=1+1`.

Labels, reasons and messages (`csv_columns.TEXT_COLUMNS`) that begin like a formula are written with a leading
apostrophe, as OWASP recommends (https://owasp.org/www-community/attacks/CSV_Injection), and read without it. File names
are written unchanged.
"""

import re
from typing import TypeAlias

import pyarrow as pa
import pyarrow.compute as pc

FORMULA = "'* *[=+\\-@\t\r\n\uff0b\uff0d\uff1d\uff20]"
"""How a text begins that gets an apostrophe. The same pattern serves Python and the script of the report.

The last four characters are full-width forms. Leading apostrophes are part of the pattern, so that every text can be
restored.
"""

_IN_BYTES = "'* *(?:[=+\\-@\t\r\n]|\\xef\\xbc[\\x8b\\x8d\\x9d\\xa0])"
"""The same pattern for the bytes of UTF-8."""

Column: TypeAlias = pa.Array | pa.ChunkedArray


def escape_formula(text: str) -> str:
    """Return a text as it is written to a CSV file."""
    return re.sub(f"^({FORMULA})", r"'\1", text)


def unescape_formula(text: str) -> str:
    """Undo `escape_formula`."""
    return re.sub(f"^'({FORMULA})", r"\1", text)


def escape_formulas(texts: Column) -> Column:
    """Return a column of texts as it is written to a CSV file, as raw bytes (`large_binary`)."""
    return pc.replace_substring_regex(texts.cast(pa.large_binary()), f"^({_IN_BYTES})", r"'\1")


def unescape_formulas(texts: Column) -> Column:
    """Undo `escape_formulas`; returns raw bytes (`large_binary`)."""
    return pc.replace_substring_regex(texts.cast(pa.large_binary()), f"^'({_IN_BYTES})", r"\1")
