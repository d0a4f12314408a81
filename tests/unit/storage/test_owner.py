"""Whose lock it is, and when its owner counts as dead."""

import json
import os
import shutil
import subprocess
import sys

import pytest

from fastdup_ray.storage.owner import describe_this_process, is_dead


def described_by(*command: str) -> str:
    """What a process that has ended by now said of itself."""
    code = "import json; from fastdup_ray.storage import owner; print(json.dumps(owner.describe_this_process()))"
    return subprocess.run([*command, sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout


def test_a_living_owner_is_not_dead_and_one_that_ended_is():
    assert not is_dead(json.dumps(describe_this_process()))
    assert is_dead(described_by())


def test_a_number_that_another_process_has_by_now_is_a_dead_owner():
    assert is_dead(json.dumps(describe_this_process() | {"started": "1"}))


@pytest.mark.parametrize("name", ["boot", "pid_namespace"])
def test_nothing_is_known_of_owners_elsewhere_whatever_their_host_is_called(name):
    elsewhere = json.loads(described_by())
    assert not is_dead(json.dumps(elsewhere | {name: "another"}))
    del elsewhere[name]
    assert not is_dead(json.dumps(elsewhere))


@pytest.mark.skipif(shutil.which("unshare") is None, reason="needs unshare (util-linux)")
def test_an_owner_in_another_process_namespace_is_not_dead():
    unshare = ["unshare", "--pid", "--fork", "--mount-proc"]
    if subprocess.run([*unshare, "true"], capture_output=True).returncode:
        pytest.skip("no process namespace can be made here")
    text = described_by(*unshare)
    assert json.loads(text)["host"] == os.uname().nodename
    assert not is_dead(text)


@pytest.mark.parametrize("text", ["", "[]", "{}", "null", '{"pid": 1}', "no JSON"])
def test_what_describes_nobody_is_not_dead(text):
    assert not is_dead(text)
