"""Processes that are killed while they are at work, which start quickly: what they import is imported once."""

import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Mapping
from multiprocessing.process import BaseProcess
from pathlib import Path

_CONTEXT = multiprocessing.get_context("forkserver")
_COMMANDS = [f"fastdup_ray.{room}.{name}" for room in ("cli", "curation") for name in ("apply", "undo")]
_CONTEXT.set_forkserver_preload(
    ["tests.helpers.kills", *_COMMANDS, "fastdup_ray.curation.dataset", "fastdup_ray.storage.s3", "boto3"]
)


def start(arguments: list[object], environment: Mapping[str, str] | None = None) -> BaseProcess:
    """The command in a process of its own."""
    process = _CONTEXT.Process(target=_call, args=([str(word) for word in arguments], dict(environment or {})))
    process.start()
    return process


def _call(arguments: list[str], environment: dict[str, str]) -> None:
    from fastdup_ray.cli.main import main

    os.environ.update(environment)
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 1)
    main(arguments)


def kill_when(process: BaseProcess, is_time: Callable[[], bool]) -> bool:
    """kill -9 as soon as `is_time`; whether it was still at work. One that ends by itself has to end well."""
    while process.is_alive():
        if is_time():
            process.kill()
            break
        time.sleep(0.0005)
    process.join()
    assert process.exitcode in (0, -signal.SIGKILL)
    return process.exitcode == -signal.SIGKILL


def dying_before(tmp_path: Path, name: str) -> str:
    """A folder for PYTHONPATH that makes the process kill itself before it puts `name` (or before it merges)."""
    folder = tmp_path / "dying"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(
        "import os, signal\n"
        "from pathlib import Path\n"
        "replace = os.replace\n"
        "def dying(source, target):\n"
        f"    if str(target).endswith({name!r}) or {name!r} == 'merge' and Path(target).name == 'features.dat':\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "    replace(source, target)\n"
        "os.replace = dying\n"
    )
    return str(folder)
