"""The flags about S3 of commands other than `run`."""

from collections.abc import Callable
from typing import Any

import click

from fastdup_ray.config import RunConfig

_NAMES = ("s3_anonymous", "s3_requester_pays")


def add_s3_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Decorate a command with `--s3-anonymous` and `--s3-requester-pays`, described as those of `run`."""
    for name in reversed(_NAMES):
        flag = "--" + name.replace("_", "-")
        command = click.option(flag, is_flag=True, help=RunConfig.model_fields[name].description)(command)
    return command
