"""JSON files that say whether they are whole, and digests of the files beside them."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fastdup_ray.common.facts import RunSummary
from fastdup_ray.errors import DamagedError, MissingFileError
from fastdup_ray.storage import Store

_SEAL = "sha256_of_this"


def hash_file(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fetch_listed(store: Store, name: str, summary: RunSummary, *, kept_as: str | None = None) -> Path:
    """Fetch an output of the run that a summary tells of, and no other file of that name.

    Args:
        store: the work_dir.
        name: of the output.
        summary: what `read_summary` gave.
        kept_as: the name that the output has by now, where that is another one.

    Returns:
        A local path.

    Raises:
        MissingFileError: where the run wrote no such file, or it is gone.
        DamagedError: where the file is not the one that the run wrote.
    """
    sha256 = summary["sha256"].get(name)
    if sha256 is None:
        raise MissingFileError(f"The run in {store.location!r} wrote no {name}.")
    return check_digest(store, kept_as or name, sha256)


def check_digest(store: Store, name: str, sha256: str) -> Path:
    """Fetch the file with this digest; raise `DamagedError` where it is another one, `FileNotFoundError`."""
    path = store.fetch(name)
    if hash_file(path) != sha256:
        raise DamagedError(f"{path} is damaged or of another run (its digest does not fit).")
    return path


def write_json(store: Store, name: str, content: Mapping[str, object]) -> None:
    """Puts `content` with a digest of itself, so that `read_json` finds any changed byte."""
    with store.create(name) as path:
        text = json.dumps({**content, _SEAL: _hash_content(content)}, indent=1, ensure_ascii=False) + "\n"
        path.write_text(text, encoding="utf-8", errors="backslashreplace")  # JSON has the same escapes


def read_json(store: Store, name: str) -> dict[str, Any]:
    """What `write_json` put; raises `DamagedError` for anything else, `FileNotFoundError` where nothing is."""
    path = store.fetch(name)
    try:
        content = json.loads(path.read_bytes())
        seal, digest = content.pop(_SEAL), _hash_content(content)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise DamagedError(f"{path} is damaged (not whole).") from None
    if seal != digest:
        raise DamagedError(f"{path} is damaged (its digest does not fit).")
    return content


def _hash_content(content: Mapping[str, object]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
