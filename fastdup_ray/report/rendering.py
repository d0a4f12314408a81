"""The templates of this folder, made into pages that ask nothing of any other file or server."""

import base64
import hashlib
import math
import os
import re
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from fastdup_ray.sealed import printable

_FOLDER = Path(__file__).parent
_INVISIBLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]")
"""Control characters, and those that turn the direction of a text: a name is shown as what it is."""


def render(template: str, **content: Any) -> str:
    """The page that `template` makes of `content`."""
    style = (_FOLDER / "style.css").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = f"default-src 'none'; img-src data:; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    return _environment().get_template(template).render(style=Markup(style), policy=policy, **content)


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_FOLDER),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "visible": visible,
        "folder": lambda name: visible(os.path.split(name)[0]),
        "base": lambda name: visible(os.path.split(name)[1]),
        "in_bytes": in_bytes,
        "number": lambda number: f"{number:,}",
        "value": lambda value: "unknown" if value is None or math.isnan(value) else f"{value:.4f}",
    }
    return environment


def visible(text: Any) -> str:
    r"""A text as it can stand in a page: bytes that are not UTF-8 as `\xNN`, control characters as escapes."""
    return _INVISIBLE.sub(lambda match: match[0].encode("unicode_escape").decode(), printable(str(text)))


def in_bytes(size: int) -> str:
    """`size` bytes as people say it."""
    if size < 1000:
        return f"{size} bytes"
    number, unit = float(size), 0
    while number >= 999.5:
        number, unit = number / 1000, unit + 1
    return f"{number:.3g} {' kMGTPE'[unit]}B"
