"""JSON files that contain their own digest, and digests of other files."""

import hashlib
import json
from collections.abc import Mapping
from io import BufferedReader, FileIO
from pathlib import Path
from typing import Any

from fastdup_ray.common.facts import RunSummary
from fastdup_ray.errors import DamagedError, MissingFileError
from fastdup_ray.storage import Store

_DIGEST_KEY = "sha256_of_this"


def hash_file(path: Path) -> str:
    """Return the SHA-256 of a file, in hex."""
    with open(path, "rb") as file:
        return hash_content(file)


def hash_content(file: FileIO | BufferedReader, start: int = 0) -> str:
    """Return the SHA-256 of an open file from an offset to its end, in hex."""
    file.seek(start)
    return hashlib.file_digest(file, "sha256").hexdigest()


def fetch_listed(store: Store, name: str, summary: RunSummary, *, kept_as: str | None = None) -> Path:
    """Fetch an output that a run's summary lists, and check that it is the file that the run wrote.

    Args:
        store: The work_dir.
        name: Name of the output in the summary.
        summary: Content of summary.json, as `read_summary` returns it.
        kept_as: Name of the file today, if the output was renamed since.

    Returns:
        A local path.

    Raises:
        MissingFileError: The run wrote no such file, or the file is gone.
        DamagedError: The digest differs from the summary's.
    """
    sha256 = summary["sha256"].get(name)
    if sha256 is None:
        raise MissingFileError(f"The run in {store.location!r} wrote no {name}.")
    return check_digest(store, kept_as or name, sha256)


def check_digest(store: Store, name: str, sha256: str) -> Path:
    """Fetch a file and compare its digest.

    Args:
        store: The work_dir.
        name: The file.
        sha256: Its expected SHA-256, in hex.

    Returns:
        A local path.

    Raises:
        DamagedError: The digest differs.
        FileNotFoundError: There is no such file.
    """
    path = store.fetch(name)
    if hash_file(path) != sha256:
        raise DamagedError(f"{path} is damaged or from another run (its checksum differs).")
    return path


def write_json(store: Store, name: str, content: Mapping[str, object]) -> None:
    """Write an object as JSON, with a digest by which `read_json` detects any change.

    Args:
        store: The work_dir.
        name: File to write.
        content: A JSON object. The key `sha256_of_this` is added.
    """
    with store.create(name) as path:
        text = json.dumps({**content, _DIGEST_KEY: _hash_content(content)}, indent=1, ensure_ascii=False) + "\n"
        path.write_text(text, encoding="utf-8", errors="backslashreplace")  # JSON has the same escapes


def read_json(store: Store, name: str) -> dict[str, Any]:
    """Read what `write_json` wrote.

    Args:
        store: The work_dir.
        name: File to read.

    Returns:
        The object, without its digest.

    Raises:
        DamagedError: The file is not such JSON, or was changed.
        FileNotFoundError: There is no such file.
    """
    path = store.fetch(name)
    try:
        content: dict[str, Any] = json.loads(path.read_bytes())
        stored_digest, digest = content.pop(_DIGEST_KEY), _hash_content(content)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise DamagedError(f"{path} is damaged (incomplete, or not JSON of this tool).") from None
    if stored_digest != digest:
        raise DamagedError(f"{path} is damaged (its checksum differs).")
    return content


def _hash_content(content: Mapping[str, object]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
