"""JSON files that say whether they are whole, and digests of the files beside them."""

import hashlib
import json
from pathlib import Path
from typing import Any

from fastdup_ray.errors import DamagedError
from fastdup_ray.storage import Store

_SEAL = "sha256_of_this"


def file_sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_json(store: Store, name: str, content: dict[str, Any]) -> None:
    """Puts `content` with a digest of itself, so that `read_json` finds any changed byte."""
    with store.create(name) as path:
        text = json.dumps(content | {_SEAL: _digest(content)}, indent=1, ensure_ascii=False) + "\n"
        path.write_text(text, encoding="utf-8", errors="backslashreplace")  # JSON has the same escapes


def read_json(store: Store, name: str) -> dict[str, Any]:
    """What `write_json` put; raises `DamagedError` for anything else, `FileNotFoundError` where nothing is."""
    path = store.fetch(name)
    try:
        content = json.loads(path.read_bytes())
        seal, digest = content.pop(_SEAL), _digest(content)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise DamagedError(f"{path} is damaged (not whole).") from None
    if seal != digest:
        raise DamagedError(f"{path} is damaged (its digest does not fit).")
    return content


def _digest(content: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
