"""Google Cloud Storage: credentials and endpoint, as Google's own libraries find them.

Sources: https://cloud.google.com/docs/authentication/application-default-credentials, and for STORAGE_EMULATOR_HOST the
README of google-cloud-storage for Go and Python.
"""

import os
import socket
from pathlib import Path
from typing import Any

from fastdup_ray.clouds.buckets import BucketSource
from fastdup_ray.clouds.cloud import Cloud, ObjectStore
from fastdup_ray.common.locations import GOOGLE

EMULATOR = "STORAGE_EMULATOR_HOST"
"""Environment variable with the address of an emulator, which takes unsigned requests."""

_NAMED = (
    *("GOOGLE_APPLICATION_CREDENTIALS", "GOOGLE_SERVICE_ACCOUNT", "GOOGLE_SERVICE_ACCOUNT_PATH"),
    *("GOOGLE_SERVICE_ACCOUNT_KEY", "GOOGLE_BEARER_TOKEN"),
)
"""Environment variables with credentials, or with a path to some."""

_METADATA_SERVER = "metadata.google.internal"
"""Signs for the machines of Google's cloud; its name exists nowhere else."""


def _has_credentials() -> bool:
    if os.environ.get(EMULATOR):
        return False
    return any(map(os.environ.get, _NAMED)) or _find_login() is not None or _has_metadata_server()


def _find_login() -> Path | None:
    """Return the file that `gcloud auth application-default login` has written; None without one."""
    folder = Path(os.environ.get("CLOUDSDK_CONFIG") or Path("~/.config/gcloud").expanduser())
    file = folder / "application_default_credentials.json"
    return file if file.is_file() else None


def _has_metadata_server() -> bool:
    try:
        socket.getaddrinfo(_METADATA_SERVER, 80)
    except OSError:
        return False
    return True


def _make_store(bucket: str, *, anonymous: bool, **options: Any) -> ObjectStore:
    from obstore.store import GCSStore

    config: dict[str, Any] = {"skip_signature": True} if anonymous else {}
    if emulator := os.environ.get(EMULATOR):
        config["base_url"] = emulator if "://" in emulator else f"http://{emulator}"
    elif not anonymous and not any(map(os.environ.get, _NAMED)) and (login := _find_login()):
        config["application_credentials"] = os.fspath(login)
    return GCSStore(bucket, **config, **options)


google = BucketSource(
    Cloud(GOOGLE, "Google Cloud Storage", "GOOGLE_APPLICATION_CREDENTIALS", _has_credentials, _make_store)
)
"""The source of gs:// URIs."""
