"""Numbers as people say them."""


def format_bytes(size: int) -> str:
    """`size` bytes as people say it."""
    if size < 1000:
        return f"{size} bytes"
    number, unit = float(size), 0
    while number >= 999.5:
        number, unit = number / 1000, unit + 1
    return f"{number:.3g} {' kMGTPE'[unit]}B"
