"""The child process that starts before the stages of a run are imported."""

import sys

import pytest

from fastdup_ray import RunConfig
from fastdup_ray.common import layout
from fastdup_ray.executors import child_process
from fastdup_ray.executors.child_process import FirstChild


class Child:
    """In place of a process."""

    is_alive = True

    def end(self) -> str:
        self.is_alive = False
        return ""


@pytest.fixture(autouse=True)
def no_processes(monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.delitem(sys.modules, "ray", raising=False)
    monkeypatch.setattr(child_process, "ChildProcess", Child)


def start(work_dir, **parameters: object) -> FirstChild:
    return FirstChild(RunConfig.of(input_dir="photos", work_dir=str(work_dir), **parameters))


@pytest.mark.parametrize("parameters", [{}, {"executor": "local"}, {"run_mode": 1}, {"run_mode": 3}])
def test_a_run_that_reads_images_here_has_one(parameters, tmp_path):
    child = start(tmp_path / "out", **parameters).take()
    assert child is not None
    assert child.is_alive


@pytest.mark.parametrize(
    "parameters",
    [{"executor": "ray"}, {"executor": "inline"}, {"num_actors": 2}, {"run_mode": 2}, {"estimate": True}],
)
def test_a_run_that_does_not_has_none(parameters, tmp_path):
    assert start(tmp_path / "out", **parameters).take() is None


@pytest.mark.parametrize("reuse", [True, False])
def test_a_finished_run_has_embeddings_to_reuse(reuse, tmp_path):
    (tmp_path / layout.SUMMARY).touch()
    assert (start(tmp_path, reuse=reuse).take() is None) is reuse


def test_it_is_taken_once_and_then_ended_by_who_took_it(tmp_path):
    with start(tmp_path) as first:
        child = first.take()
        assert first.take() is None
    assert child.is_alive


def test_it_ends_with_the_context_if_it_was_not_taken(tmp_path):
    with start(tmp_path) as first:
        child = first._child
    assert not child.is_alive
