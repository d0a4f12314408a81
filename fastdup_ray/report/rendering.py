"""Rendering of the templates in this folder into self-contained HTML pages."""

import base64
import hashlib
import json
import math
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from fastdup_ray.common.formatting import format_bytes
from fastdup_ray.common.names import escape_invisible

_FOLDER = Path(__file__).parent
GENERATOR = '<meta name="generator" content="fastdup_ray">'
"""At the beginning of each page, so that our own pages can be recognized and replaced."""

_IMPORT = re.compile(r'^import\s[^;]*?\sfrom "\./[a-z_]+\.js";\n', re.MULTILINE)
_EXPORT = re.compile(r"^export (?=const|let|function|class|async)", re.MULTILINE)
_ESCAPES = {character: f"\\u{ord(character):04x}" for character in "<>&\u2028\u2029"}


def render(template: str, styles: Iterable[str], modules: Iterable[str] = (), **variables: Any) -> Iterator[str]:
    """Render a template with all of its styles and scripts inline.

    The page has one style and one script. Its content security policy allows these two by their digests, and nothing
    else, so that no file name can run code and nothing is loaded from elsewhere.

    Args:
        template: A file of this folder.
        styles: CSS files of this folder.
        modules: JavaScript files of the folder `script`, each after those that it imports.
        variables: Variables of the template.

    Returns:
        The HTML of the page, in parts.
    """
    style = "".join((_FOLDER / name).read_text(encoding="utf-8") for name in styles)
    script = "".join(_inline_module((_FOLDER / "script" / name).read_text(encoding="utf-8")) for name in modules)
    policy = {
        "default-src": "'none'",
        "img-src": "data:",
        "style-src": _hash_source(style),
        **({"script-src": _hash_source(script)} if script else {}),
        "base-uri": "'none'",
        "form-action": "'none'",
    }
    return (
        _make_environment()
        .get_template(template)
        .generate(
            generator=Markup(GENERATOR),
            style=Markup(style),
            script=Markup(script),
            policy="; ".join(f"{name} {value}" for name, value in policy.items()),
            **variables,
        )
    )


def _hash_source(text: str) -> str:
    """A hash source expression of a content security policy (CSP Level 3)."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _inline_module(module: str) -> str:
    """A module without its imports and export keywords: all modules of a page become one script."""
    return _EXPORT.sub("", _IMPORT.sub("", module))


def iter_json(content: Any) -> Iterator[Markup]:
    """Yield JSON for a script element, the members of objects one by one.

    Nothing in it can end the element or begin another one. A text takes four bytes a character if a single one of them
    is an emoji, so the parts are not joined.
    """
    if isinstance(content, dict) and content:
        separator = "{"
        for name, value in content.items():
            yield Markup(separator) + _escape_json(name) + Markup(":")
            yield from iter_json(value)
            separator = ","
        yield Markup("}")
    else:
        yield _escape_json(content)


def _escape_json(content: Any) -> Markup:
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    for character, escape in _ESCAPES.items():
        text = text.replace(character, escape)
    return Markup(text)


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
        "in_script": iter_json,
    }
    return environment
