"""The environment of a Ray of our own, and whose Ray a run joins unasked."""

import os
import socket
import stat
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest

from fastdup_ray.errors import WorkerError
from fastdup_ray.executors.own_ray import LONGEST_FOLDER, cluster_environment, own_environment
from fastdup_ray.executors.ray_cluster import find_running_cluster

NAMES = ("RAY_ADDRESS", "RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", "RAY_TMPDIR", "TMPDIR")


@pytest.fixture(autouse=True)
def unset(monkeypatch, tmp_path) -> None:
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))


def test_each_ray_has_a_token_of_its_own_and_all_is_put_back():
    tokens, before = set(), dict(os.environ)
    for _ in range(2):
        with own_environment():
            assert os.environ["RAY_AUTH_MODE"] == "token"
            tokens.add(os.environ["RAY_AUTH_TOKEN"])
        assert dict(os.environ) == before
    assert len(tokens) == 2
    assert min(map(len, tokens)) >= 32


@pytest.mark.parametrize(
    ("name", "value", "token"),
    [
        ("RAY_AUTH_MODE", "disabled", None),
        ("RAY_AUTH_TOKEN", "of the user", "of the user"),
        ("RAY_AUTH_TOKEN_PATH", "/of/the/user", None),
    ],
)
def test_what_the_user_has_chosen_is_kept(monkeypatch, name, value, token):
    monkeypatch.setenv(name, value)
    with own_environment():
        assert (os.environ[name], os.environ.get("RAY_AUTH_TOKEN")) == (value, token)
    assert os.environ[name] == value


def test_its_files_are_in_a_folder_of_this_user_alone_and_go():
    with own_environment():
        folder = Path(os.environ["RAY_TMPDIR"])
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert not folder.exists()


def test_its_logs_stay_where_it_failed():
    with pytest.raises(WorkerError), own_environment():
        folder = Path(os.environ["RAY_TMPDIR"])
        raise WorkerError("a worker died")
    folder.rmdir()


@pytest.mark.parametrize("name", ["RAY_TMPDIR", "TMPDIR"])
@pytest.mark.parametrize("place", ["/var/tmp", "/" + "x" * LONGEST_FOLDER, "/no/such/folder"])
def test_it_is_where_the_user_has_said_unless_sockets_do_not_fit(monkeypatch, name, place):
    monkeypatch.setenv(name, place)
    with own_environment():
        assert os.path.dirname(os.environ["RAY_TMPDIR"]) == ("/var/tmp" if place == "/var/tmp" else "/tmp")
    assert os.environ[name] == place


@pytest.fixture
def head(request) -> Iterator[str]:
    """The address of what answers each call as a head without a token does, or refuses it as one with a token."""

    def answer(_: bytes, context: grpc.ServicerContext) -> bytes:
        if request.param == "with a token":
            context.abort(grpc.StatusCode.UNAUTHENTICATED, "no token")
        return b""

    class Head(grpc.GenericRpcHandler):
        def service(self, _):
            return grpc.unary_unary_rpc_method_handler(answer)

    server = grpc.server(ThreadPoolExecutor(1), handlers=[Head()])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"127.0.0.1:{port}"
    server.stop(None).wait()


@pytest.mark.parametrize(
    ("head", "named", "there", "mode"),
    [
        ("with a token", True, {"RAY_AUTH_TOKEN": "x"}, "token"),
        ("with a token", True, {}, None),
        ("with a token", False, {}, "token"),
        ("with a token", True, {"RAY_AUTH_TOKEN": "x", "RAY_AUTH_MODE": "disabled"}, "disabled"),
        ("without", True, {"RAY_AUTH_TOKEN": "x"}, None),
        ("without", False, {}, None),
        ("without", True, {"RAY_AUTH_TOKEN": "x", "RAY_AUTH_MODE": "token"}, "token"),
    ],
    indirect=["head"],
)
def test_a_token_is_for_clusters_that_ask_and_one_at_home_for_that_of_this_machine(
    monkeypatch, tmp_path, head, named, there, mode
):
    (tmp_path / ".ray").mkdir()
    (tmp_path / ".ray" / "auth_token").write_text("at home")
    for name, value in (there | ({"RAY_ADDRESS": head} if named else {})).items():
        monkeypatch.setenv(name, value)
    with cluster_environment(head):
        assert os.environ.get("RAY_AUTH_MODE") == mode
    assert os.environ.get("RAY_AUTH_MODE") == there.get("RAY_AUTH_MODE")


@pytest.fixture
def cluster(monkeypatch, tmp_path) -> Iterator[str]:
    """The address of what answers, which `ray start` has left."""
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        (tmp_path / "ray").mkdir()
        (tmp_path / "ray" / "ray_current_cluster").write_text(address)
        yield address


def test_a_cluster_of_this_user_is_joined(cluster):
    assert find_running_cluster() == cluster


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to another user")
def test_a_cluster_of_another_user_is_joined_only_where_it_is_named(cluster, tmp_path, monkeypatch):
    named = tmp_path / "ray" / "ray_current_cluster"
    os.chown(named, 65534, 65534)
    assert find_running_cluster() is None
    monkeypatch.setenv("RAY_ADDRESS", cluster)
    assert find_running_cluster() == cluster


def test_a_link_to_an_address_is_none(cluster, tmp_path):
    named = tmp_path / "ray" / "ray_current_cluster"
    named.rename(tmp_path / "elsewhere")
    named.symlink_to(tmp_path / "elsewhere")
    assert find_running_cluster() is None
