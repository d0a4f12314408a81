"""Log a run to MLflow or Weights & Biases: its parameters, its counts, and the report.

Both are used as they are configured, by their environment variables or by code that ran before: MLFLOW_TRACKING_URI,
MLFLOW_EXPERIMENT_NAME, WANDB_PROJECT, WANDB_MODE and so on. Nothing is imported before one of the functions is called.
"""

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, cast

from fastdup_ray.errors import ConfigError, FastdupError
from fastdup_ray.outputs.finished_run import RunReader
from fastdup_ray.result import RunResult
from fastdup_ray.storage import open_store

REPORT = "fastdup_report.html"
"""Name of the report among the artifacts."""

MAX_CHARACTERS = 500
"""Characters of the value of a parameter: the least that a store of MLflow takes."""


@dataclass(frozen=True)
class LoggedRun:
    """What was logged.

    Attributes:
        tracker: The name of the tracker, for people.
        run_id: The run of the tracker.
        parameters: Number of parameters.
        metrics: Number of metrics.
        has_report: Whether the report was logged; a run with `report=False` has none.
    """

    tracker: str
    run_id: str
    parameters: int
    metrics: int
    has_report: bool

    def text(self) -> str:
        """Return what the command prints."""
        report = ", and the report" if self.has_report else "; the run has no report"
        counts = f"{self.parameters} parameters, {self.metrics} metrics"
        return f"Logged to the {self.tracker} run {self.run_id}: {counts}{report}."


def log_to_mlflow(result: RunResult, *, run_name: str | None = None, prefix: str = "") -> LoggedRun:
    """Log a run to MLflow: parameters, counts and seconds of each stage as metrics, the report as an artifact.

    If a run of MLflow is active, it is used, and stays active; else one is started and ended.

    Args:
        result: The result of a run or a scoring.
        run_name: Name of the run that is started.
        prefix: What the names of parameters and metrics begin with, such as `fastdup.`.

    Raises:
        ConfigError: MLflow is not installed.
        FastdupError: MLflow does not take it; the message is that of MLflow.
    """
    mlflow = _import_tracker("mlflow")
    parameters, metrics, report = _read_facts(result, prefix)
    try:
        active = mlflow.active_run()
        with nullcontext(active) if active else mlflow.start_run(run_name=run_name) as run:
            mlflow.log_params({name: str(value)[:MAX_CHARACTERS] for name, value in parameters.items()})
            mlflow.log_metrics(metrics)
            if report is not None:
                mlflow.log_text(report, REPORT)
    except (mlflow.exceptions.MlflowException, OSError) as error:
        raise FastdupError(_join_lines(f"MLflow: {error}")) from None
    return LoggedRun("MLflow", run.info.run_id, len(parameters), len(metrics), report is not None)


def log_to_wandb(result: RunResult, *, run_name: str | None = None, prefix: str = "") -> LoggedRun:
    """Log a run to Weights & Biases: parameters as config, counts and seconds as summary, the report as an artifact.

    If a run of wandb is active, it is used, and stays active; else one is started and finished.

    Args:
        result: The result of a run or a scoring.
        run_name: Name of the run that is started.
        prefix: What the names of parameters and metrics begin with, such as `fastdup.`.

    Raises:
        ConfigError: wandb is not installed.
        FastdupError: wandb does not take it; the message is that of wandb.
    """
    wandb = _import_tracker("wandb")
    parameters, metrics, report = _read_facts(result, prefix)
    try:
        active = wandb.run
        with nullcontext(active) if active else wandb.init(name=run_name) as run:
            run.config.update(parameters, allow_val_change=True)
            run.summary.update(metrics)
            if report is not None:
                artifact = wandb.Artifact("fastdup_report", type="report")
                with artifact.new_file(REPORT, encoding="utf-8") as file:
                    file.write(report)
                run.log_artifact(artifact)
            run_id = run.id
    except (wandb.errors.Error, OSError) as error:
        raise FastdupError(_join_lines(f"wandb: {error}")) from None
    return LoggedRun("wandb", run_id, len(parameters), len(metrics), report is not None)


TRACKERS: dict[str, Callable[..., LoggedRun]] = {"mlflow": log_to_mlflow, "wandb": log_to_wandb}
"""By the name that the command takes, which is also that of the package and of the extra."""


def _import_tracker(name: str) -> Any:
    from importlib import import_module

    try:
        return import_module(name)
    except ImportError:
        raise ConfigError(f"{name} is not installed: pip install 'fastdup-ray[{name}]'.") from None


def _read_facts(result: RunResult, prefix: str) -> tuple[dict[str, Any], dict[str, float], str | None]:
    """Return the parameters, the metrics, and the HTML of the report; None if there is no report."""
    run = RunReader(open_store(result.work_dir, result.access), result.summary, result.files)
    counts = cast(dict[str, float], result.counts)
    seconds = {f"seconds.{stage}": value for stage, value in result.summary.get("seconds", {}).items()}
    metrics = {prefix + name: value for name, value in (counts | seconds).items()}
    stated = {**run.config, "fastdup_ray": result.summary.get("version", "")}
    parameters = {prefix + name: value for name, value in stated.items()}
    try:
        report = result.report.read_text(encoding="utf-8")
    except FileNotFoundError:
        report = None
    return parameters, metrics, report


def _join_lines(message: str) -> str:
    return " ".join(message.split())
