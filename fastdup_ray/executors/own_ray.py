"""A private Ray: on the loopback interface only, with a token, and with its files in a folder of this user alone.

Ray reads all of this from environment variables, which its processes inherit. They are set as long as it runs; those
that the user has set are kept.
"""

import logging
import os
import secrets
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from typing import Any

from fastdup_ray.errors import WorkerError

log = logging.getLogger(__name__)

QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}
"""No usage statistics, and no warning about how a later Ray will treat GPUs."""

LOOPBACK = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
"""Makes Ray listen on 127.0.0.1, as it does on Windows and macOS. It has no other switch for that."""

TOKENS = ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")

LONGEST_FOLDER = 103 - len("/fd-12345678/ray/session_2000-01-01_00-00-00_000000_4194304/sockets/plasma_store")
"""Bytes of a folder's path with which Ray's Unix sockets stay within the limit of macOS; that of Linux is 4 larger."""


def import_ray() -> None:
    """Import Ray so that a Ray of our own listens on the loopback interface only: Ray decides that at its import.

    If the process has imported Ray before, it listens on the address of this machine.
    """
    with _variables(_unset(LOOPBACK)):
        import ray  # noqa: F401


@contextmanager
def own_environment() -> Iterator[None]:
    """Set the environment of a private Ray, which is started and stopped inside the context."""
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
def cluster_environment(address: str) -> Iterator[None]:
    """Make Ray use a token for the running cluster at `address`, if there is one and the cluster asks for it.

    A token in the environment is for the cluster of RAY_ADDRESS, one in the home directory for that of this machine.
    """
    found = any(os.environ.get(name) for name in TOKENS)
    if os.environ.get("RAY_ADDRESS", "auto") == "auto":
        found = found or Path.home().joinpath(".ray", "auth_token").exists()
    with _variables(_unset(QUIET | ({"RAY_AUTH_MODE": "token"} if found and _asks_for_token(address) else {}))):
        yield


def _asks_for_token(address: str) -> bool:
    """Return whether a cluster refuses calls without a token; True if it cannot be asked.

    A process that uses a token refuses calls without one. A cluster that has none then takes this process for dead, and
    cancels its actors.
    """
    if "://" in address or os.environ.get("RAY_USE_TLS", "0") != "0":
        return True
    import grpc

    with grpc.insecure_channel(address, options=[("grpc.enable_http_proxy", 0)]) as channel:
        try:
            channel.unary_unary("/ray.rpc.NodeInfoGcsService/GetClusterId")(b"", timeout=5)
        except grpc.RpcError as error:
            return bool(error.code() == grpc.StatusCode.UNAUTHENTICATED)
    return False


def _private_folder() -> str:
    """Make a folder of this user alone: Ray's own folder, with logs and sockets, is open to everybody."""
    for place in (os.environ.get("RAY_TMPDIR"), os.environ.get("TMPDIR"), "/tmp"):
        if place and len(os.fsencode(os.path.abspath(place))) <= LONGEST_FOLDER:
            with suppress(OSError):
                return tempfile.mkdtemp(prefix="fd-", dir=os.path.abspath(place))
    raise WorkerError(
        "Ray has no folder for its files: set RAY_TMPDIR to one that can be written to, "
        f"with a path of at most {LONGEST_FOLDER} bytes."
    )


def _random_token() -> dict[str, str]:
    """Return the variables for authentication with a token of this run; Ray before 2.52 ignores them."""
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
    """Make Ray read RAY_AUTH_… again: it does that at its import only, and has no public function for it."""
    if "ray" not in sys.modules:
        return
    raylet: Any = import_module("ray._raylet")
    with suppress(AttributeError):  # not in Ray before 2.52
        loader = raylet.AuthenticationTokenLoader
        raylet.Config.initialize("")
        loader.instance().reset_cache()
