"""A finished run in MLflow and in wandb, each with a store in a folder."""

import json
import shutil
import sys
from pathlib import Path

import pytest

import fastdup_ray as fastdup
from fastdup_ray.errors import ConfigError, FastdupError
from fastdup_ray.trackers import REPORT, TRACKERS, log_to_mlflow, log_to_wandb
from tests.helpers.commands import call


@pytest.fixture
def result(finished):
    return fastdup.RunResult.open(finished)


@pytest.fixture
def mlflow(tmp_path, monkeypatch):
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "mlflow").as_uri())
    monkeypatch.chdir(tmp_path)
    yield mlflow
    while mlflow.active_run():
        mlflow.end_run()


@pytest.fixture
def wandb(tmp_path, monkeypatch):
    wandb = pytest.importorskip("wandb")
    for name in ("DIR", "CACHE_DIR", "DATA_DIR", "CONFIG_DIR", "ARTIFACT_DIR"):
        monkeypatch.setenv(f"WANDB_{name}", str(tmp_path))
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    wandb.teardown()  # it reads its settings once
    yield wandb
    wandb.teardown()


def test_mlflow_has_parameters_counts_and_the_report(mlflow, result):
    logged = log_to_mlflow(result, run_name="nightly")
    run = mlflow.MlflowClient().get_run(logged.run_id)
    assert run.info.status == "FINISHED"
    assert run.info.run_name == "nightly"
    assert run.data.params["threshold"] == "0.85"
    assert run.data.params["fastdup_ray"] == fastdup.__version__
    assert {name: run.data.metrics[name] for name in result.counts} == result.counts
    assert run.data.metrics["seconds.features"] > 0
    assert len(run.data.params) == logged.parameters
    assert len(run.data.metrics) == logged.metrics
    path = mlflow.artifacts.download_artifacts(run_id=logged.run_id, artifact_path=REPORT)
    assert Path(path).read_text() == result.report.read_text()
    assert mlflow.active_run() is None


def test_a_run_of_mlflow_that_is_active_is_used_and_stays_active(mlflow, result):
    with mlflow.start_run() as active:
        mlflow.log_param("threshold", "mine")
        logged = log_to_mlflow(result, prefix="fastdup.")
        assert logged.run_id == active.info.run_id
        assert mlflow.active_run() is active
    run = mlflow.MlflowClient().get_run(logged.run_id)
    assert run.data.params["threshold"] == "mine"
    assert run.data.params["fastdup.threshold"] == "0.85"
    assert run.data.metrics["fastdup.duplicates"] == result.counts["duplicates"]


def test_what_mlflow_refuses_is_one_line(mlflow, result):
    with mlflow.start_run():
        mlflow.log_param("threshold", "mine")
        with pytest.raises(FastdupError, match="threshold") as caught:
            log_to_mlflow(result)
    assert "\n" not in str(caught.value)


def test_a_run_without_a_report_is_logged_by_the_command(mlflow, finished, tmp_path, capsys):
    out = Path(shutil.copytree(finished, tmp_path / "out"))
    shutil.rmtree(out / "report")
    assert call("log", out, "--to", "mlflow", "--run-name", "nightly") == 0
    assert capsys.readouterr().out.endswith("the run has no report.\n")
    (run,) = mlflow.search_runs(output_format="list", experiment_ids=["0"])
    assert run.info.run_name == "nightly"
    assert mlflow.MlflowClient().list_artifacts(run.info.run_id) == []


def test_wandb_has_parameters_counts_and_the_report(wandb, result, tmp_path):
    with wandb.init() as run:
        logged = log_to_wandb(result, prefix="fastdup.")
        assert logged.run_id == run.id
        assert wandb.run is run
        assert run.config["fastdup.threshold"] == 0.85
        assert run.summary["fastdup.duplicates"] == result.counts["duplicates"]
        assert run.summary["fastdup.seconds.features"] > 0
    page = result.report.read_bytes()
    assert [path for path in tmp_path.rglob("*") if path.is_file() and path.read_bytes() == page]


def test_a_run_of_wandb_is_started_and_finished(wandb, result, tmp_path):
    logged = log_to_wandb(result, run_name="nightly")
    assert wandb.run is None
    assert [path.name.endswith(logged.run_id) for path in (tmp_path / "wandb").glob("offline-run-*")] == [True]


@pytest.mark.parametrize("name", TRACKERS)
def test_a_missing_package_is_named_with_its_extra(name, result, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ConfigError, match=rf"fastdup-ray\[{name}\]"):
        TRACKERS[name](result)
    assert call("log", result.work_dir, "--to", name) == 2
    assert json.dumps(name)[1:-1] in capsys.readouterr().err


def test_no_run_is_one_line(tmp_path, capsys):
    assert call("log", tmp_path, "--to", "mlflow") == 1
    assert capsys.readouterr().err.count("\n") == 1
