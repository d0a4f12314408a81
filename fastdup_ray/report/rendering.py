"""The templates of this folder, made into pages that ask nothing of any other file or server."""

import base64
import hashlib
import json
import math
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from fastdup_ray.common.formatting import format_bytes
from fastdup_ray.common.names import escape_invisible

_FOLDER = Path(__file__).parent
GENERATOR = '<meta name="generator" content="fastdup_ray">'
"""At the beginning of each page: it tells our pages from those of others."""

_IMPORT = re.compile(r'^import\s[^;]*?\sfrom "\./[a-z]+\.js";\n', re.MULTILINE)
_EXPORT = re.compile(r"^export (?=const|let|function|class|async)", re.MULTILINE)
_ESCAPES = {ord(character): f"\\u{ord(character):04x}" for character in "<>&\u2028\u2029"}


def render(template: str, styles: Iterable[str], modules: Iterable[str] = (), **content: Any) -> str:
    """The page that `template` makes of `content`.

    styles: CSS files of this folder. modules: JavaScript files of the folder `script`, each after those that it
    imports. A page has one style and one script, which its policy knows by their digests; it allows nothing else.
    """
    style = "".join((_FOLDER / name).read_text(encoding="utf-8") for name in styles)
    script = "".join(_inline_module((_FOLDER / "script" / name).read_text(encoding="utf-8")) for name in modules)
    policy = {
        "default-src": "'none'",
        "img-src": "data:",
        "style-src": _read_text(style),
        **({"script-src": _read_text(script)} if script else {}),
        "base-uri": "'none'",
        "form-action": "'none'",
    }
    return (
        _make_environment()
        .get_template(template)
        .render(
            generator=Markup(GENERATOR),
            style=Markup(style),
            script=Markup(script),
            policy="; ".join(f"{name} {value}" for name, value in policy.items()),
            **content,
        )
    )


def _read_text(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _inline_module(module: str) -> str:
    """A module as a part of one script: without the imports of its neighbours, and what they make of its exports."""
    return _EXPORT.sub("", _IMPORT.sub("", module))


def escape_json(content: Any) -> Markup:
    """JSON that can stand inside a script element: nothing in it ends the element, or begins another."""
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return Markup(text.translate(_ESCAPES))


def _make_environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_FOLDER),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "visible": escape_invisible,
        "folder": lambda name: escape_invisible(os.path.split(name)[0]),
        "base": lambda name: escape_invisible(os.path.split(name)[1]),
        "in_bytes": format_bytes,
        "number": lambda number: f"{number:,}",
        "value": lambda value: "unknown" if value is None or math.isnan(value) else f"{value:.4f}",
        "in_script": escape_json,
    }
    return environment
