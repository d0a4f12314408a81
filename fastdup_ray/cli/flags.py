"""The options of a run, made from `RunConfig`."""

from typing import Any

import click

from fastdup_ray.cli.completion import complete_choice, complete_folder, complete_path
from fastdup_ray.config import RunConfig
from fastdup_ray.errors import ConfigError
from fastdup_ray.parameter_types import TURI_NAMES

_SCHEMA = RunConfig.model_json_schema()["properties"]

_SHORT = {"work_dir": "-o", "verbose": "-v"}

_PATHS = {
    "work_dir": ("FOLDER", complete_folder),
    "model": ("NAME|FILE.onnx", complete_path),
    "model_path": ("FILE.onnx", complete_path),
    "labels": ("FILE.csv|folder|.EXT", complete_path),
    "annotations": ("FILE.json|FILE.csv|FOLDER", complete_path),
    "reference": ("INPUT", complete_path),
}
"""How paths are called in the help, and how they are completed."""

FRONT = {
    "Input": ("more", "include", "exclude", "reference"),
    "What counts as a duplicate": ("threshold", "nearest_neighbors_k", "verify", "invariant"),
    "Output": ("work_dir", "overwrite", "incremental", "quiet", "verbose"),
    "Where it runs": ("executor", "num_threads", "compute"),
}
"""The parameters that most people need, by the heading of the help that they are shown under."""

GROUPS = FRONT | {
    "More about the input": (
        *("num_images", "min_offset", "max_offset", "min_size", "max_pixels", "bounding_box", "labels"),
        "annotations",
        *("video_fps", "max_frames", "s3_anonymous", "s3_requester_pays"),
    ),
    "More about the output": (
        *("report", "thumbnails", "estimate", "fail_over", "log_format", "version"),
        "largest_features_file",
    ),
    "Outliers and groups": ("lower_threshold", "ccthreshold", "run_cc", "run_pagerank", "run_degree"),
    "Model and search": (
        *("model", "model_path", "distance", "faiss_mode", "faiss_param", "nn_provider", "nnmodel", "turi_param"),
        *("partition_copies", "partition_memory"),
    ),
    "How it runs": ("run_mode", "reuse", "num_actors", "shard_size", "actor_memory", "image_timeout"),
}
"""All parameters of `run` and `leakage` by their heading."""


def make_flag(name: str) -> click.Option:
    """Return the option for a parameter of a run: `--report/--no-report`, `--verbose`, or one that takes a value."""
    field, schema = RunConfig.model_fields[name], _SCHEMA[name]
    flag = "--" + name.replace("_", "-")
    names = [*([_SHORT[name]] if name in _SHORT else []), flag]
    default = int(field.default) if isinstance(field.default, bool) else field.default
    text = field.description if default in (None, "", []) else f"{field.description}  [{default}]"
    if field.default is True and name not in TURI_NAMES:
        return click.Option([f"{flag}/--no-{flag[2:]}"], default=None, help=field.description)
    if field.default is False:
        return click.Option(names, is_flag=True, default=None, help=field.description)
    metavar, completer = _PATHS.get(name) or (_metavar(schema), complete_choice(_choices(schema)))
    is_list = schema.get("type") == "array"
    return click.Option(names, metavar=metavar, multiple=is_list, default=None, help=text, shell_complete=completer)


def make_quiet_flag() -> click.Option:
    """Return the option `-q`."""
    return click.Option(["-q", "--quiet"], is_flag=True, help="Print only warnings, errors and the path of the report.")


def parse_flags(inputs: str | list[str] | None, *, quiet: bool, **flags: Any) -> RunConfig:
    """Return the parameters of a run from the values of its options, those that were given.

    Raises:
        ConfigError: If a value is invalid.
    """
    given = {name: value for name, value in flags.items() if value is not None}
    if quiet:
        for other in {"verbose", "log_format"} & given.keys():
            raise ConfigError(f"--quiet and --{other.replace('_', '-')} exclude each other.")
        given["log_format"] = "quiet"
    return RunConfig.from_text({"input_dir": inputs} | given)


def _get_kind(schema: dict[str, Any]) -> dict[str, Any]:
    kind, *_ = [part for part in schema.get("anyOf", [schema]) if part.get("type") != "null"]
    return dict(kind)


def _choices(schema: dict[str, Any]) -> list[str]:
    """Return what a parameter can be: one of some words, or a list of them, whose metavar has them all."""
    kind = _get_kind(schema)
    title = str(kind.get("items", {}).get("title", ""))
    return list(map(str, kind.get("enum") or (title.split(",") if "," in title else ())))


def _metavar(schema: dict[str, Any]) -> str:
    """Return the choices or the type of a parameter, by its JSON schema."""
    kind = _get_kind(schema)
    if "enum" in kind:
        return "|".join(map(str, kind["enum"]))
    if kind["type"] == "array":
        return str(kind["items"].get("title", "GLOB"))
    return {"boolean": "0|1", "string": "TEXT"}.get(kind["type"], str(kind["type"]).upper())
