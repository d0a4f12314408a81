"""Where a run with `executor=auto` works."""

import sys
from types import SimpleNamespace

import pytest

from fastdup_ray import RunConfig
from fastdup_ray.executors.choice import MOST_LOCAL, choose_executor


@pytest.fixture(autouse=True)
def no_ray(monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.delitem(sys.modules, "ray", raising=False)


def choose(n: int, **parameters: object) -> str:
    return choose_executor(RunConfig.of(input_dir="photos", **parameters), lambda: n).executor


@pytest.mark.parametrize(("n", "executor"), [(1, "local"), (MOST_LOCAL, "local"), (MOST_LOCAL + 1, "ray")])
def test_the_number_of_images_decides(n, executor):
    assert choose(n) == executor


@pytest.mark.parametrize("parameters", [{"compute": "gpu"}, {"num_actors": 2}])
def test_a_gpu_and_a_number_of_actors_need_ray(parameters):
    assert choose(1, **parameters) == "ray"


@pytest.mark.parametrize(("address", "executor"), [("auto", "ray"), ("host:6379", "ray"), ("local", "local")])
def test_a_cluster_that_is_named_is_used(address, executor, monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", address)
    assert choose(1) == executor


@pytest.mark.parametrize(("is_initialized", "executor"), [(True, "ray"), (False, "local")])
def test_the_ray_of_this_process_is_used(is_initialized, executor, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", SimpleNamespace(is_initialized=lambda: is_initialized))
    assert choose(1) == executor


@pytest.mark.parametrize("executor", ["local", "ray", "inline"])
def test_what_is_asked_for_is_taken_without_a_look_at_the_images(executor):
    config = RunConfig.of(input_dir="photos", executor=executor)
    assert choose_executor(config, lambda: pytest.fail("counted")).executor == executor


def test_the_help_names_the_number_of_images():
    assert f"{MOST_LOCAL:,} images" in RunConfig.model_fields["executor"].description
