"""Numbers in a form for people."""


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
