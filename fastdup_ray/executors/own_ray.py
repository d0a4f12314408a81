"""Keep a Ray of our own private: on the loopback only, with a token, its files in a folder that no one else can enter.

Ray takes all of this from environment variables, which its processes inherit. They are set for as long as it runs; what
the user has set of them is kept.
"""

import logging
import os
import secrets
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from fastdup_ray.errors import WorkerError

log = logging.getLogger(__name__)

QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}
"""No report to Ray's makers, and no warning of what a later Ray will do with GPUs."""

LOOPBACK = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
"""Have Ray listen on 127.0.0.1, as it does on Windows and macOS: it has no other switch for it."""

TOKENS = ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")

LONGEST_FOLDER = 103 - len("/fd-12345678/ray/session_2000-01-01_00-00-00_000000_4194304/sockets/plasma_store")
"""Bytes of a folder below which the path of a Unix socket of Ray's still fits into what macOS has for it; Linux has
four more."""


def import_ray() -> None:
    """Import Ray in such a way that a Ray of our own listens on the loopback only; it looks only while it is imported.

    Where the process has imported Ray before, it listens on this machine's address.
    """
    with _variables(_unset(LOOPBACK)):
        import ray  # noqa: F401


@contextmanager
def own_environment() -> Iterator[None]:
    """Set what keeps a Ray that is started inside to this process and its workers, until it has been stopped."""
    folder = _private_folder()
    try:
        with _variables(_unset(QUIET | LOOPBACK) | _random_token() | {"RAY_TMPDIR": folder}):
            yield
    except WorkerError:
        log.warning("Ray's own logs are in %s.", folder)
        raise
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    else:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def cluster_environment() -> Iterator[None]:
    """Have Ray use the token that there is for the running cluster, as it does for one that it finds itself.

    A token in the environment is for the cluster that RAY_ADDRESS names, one in the home directory for that of this
    machine.
    """
    found = any(os.environ.get(name) for name in TOKENS)
    if os.environ.get("RAY_ADDRESS", "auto") == "auto":
        found = found or Path.home().joinpath(".ray", "auth_token").exists()
    with _variables(_unset(QUIET | ({"RAY_AUTH_MODE": "token"} if found else {}))):
        yield


def _private_folder() -> str:
    """Make a folder that no one else enters: Ray opens its own to everybody, with its logs and sockets."""
    for place in (os.environ.get("RAY_TMPDIR"), os.environ.get("TMPDIR"), "/tmp"):
        if place and len(os.fsencode(os.path.abspath(place))) <= LONGEST_FOLDER:
            with suppress(OSError):
                return tempfile.mkdtemp(prefix="fd-", dir=os.path.abspath(place))
    raise WorkerError(
        "Ray has no folder for its files: set RAY_TMPDIR to one that can be written to, "
        f"with a path of at most {LONGEST_FOLDER} bytes."
    )


def _random_token() -> dict[str, str]:
    """Token authentication by a token of this run alone. Ray before 2.52 has none, and does not look."""
    mode = os.environ.get("RAY_AUTH_MODE", "token")
    if mode.lower() != "token" or any(os.environ.get(name) for name in TOKENS):
        return {"RAY_AUTH_MODE": mode}
    return {"RAY_AUTH_MODE": mode, "RAY_AUTH_TOKEN": secrets.token_hex(32)}


def _unset(values: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in values.items() if name not in os.environ}


@contextmanager
def _variables(values: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables; restore them at the end."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    _reread_authentication()
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None) if value is None else os.environ.update({name: value})
        _reread_authentication()


def _reread_authentication() -> None:
    """Have Ray read RAY_AUTH_… again: it does so once, as it is imported, and has no public call for it."""
    if "ray" not in sys.modules:
        return
    with suppress(ImportError):  # not in Ray before 2.52
        from ray._raylet import AuthenticationTokenLoader, Config

        Config.initialize("")
        AuthenticationTokenLoader.instance().reset_cache()
