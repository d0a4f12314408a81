"""Standard streams that are closed, that are no files, or whose reader leaves: no run ends over them."""

import io
import shlex
import subprocess
import sys

import pytest

import fastdup_ray
from fastdup_ray.runs import progress
from fastdup_ray.system.process import is_terminal
from tests.helpers.runs import EVERY_FILE, PHOTOS, files_below

PHONE = PHOTOS / "phone"


def shell(script: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["bash", "-c", script], capture_output=True, encoding="utf-8", timeout=120)


def command(*words: object) -> str:
    return shlex.join([sys.executable, "-m", "fastdup_ray", *map(str, words)])


@pytest.mark.parametrize("closed", ["2>&-", "1>&-", "0<&- 1>&- 2>&-"])
def test_closed_streams_do_no_harm(closed, tmp_path):
    run = command("run", PHONE, "--work-dir", tmp_path / "out", "--executor", "inline", "--verbose")
    done = shell(f"exec {closed}; {run}")
    assert done.returncode == 0
    assert files_below(tmp_path / "out") == EVERY_FILE
    assert bool(done.stdout) == ("1>&-" not in closed)


@pytest.mark.parametrize("closed", ["2>&-", "1>&- 2>&-"])
def test_an_exit_code_does_not_depend_on_who_reads(closed, tmp_path):
    assert shell(f"exec {closed}; {command('run', tmp_path / 'nowhere')}").returncode == 1
    assert shell(f"exec {closed}; {command('run', PHONE, '--threshold', 7)}").returncode == 2


@pytest.mark.parametrize("name", ["-", "/dev/stdout"])
def test_an_output_is_not_lost_in_a_closed_stdout(name, finished):
    export = command("export", finished, "--format", "keep-list", "--save-path", name)
    done = shell(f"exec 1>&-; {export}")
    assert done.returncode == 1
    assert "closed" in done.stderr
    assert done.stderr.count("\n") == 1


def test_messages_of_libraries_go_into_no_file_of_ours():
    """A file that is opened while 2 is free becomes the standard error."""
    code = "from fastdup_ray.system.process import prepare_process as p; p(); print(open('/dev/zero').fileno())"
    assert int(shell(f"exec 2>&-; {shlex.join([sys.executable, '-c', code])}").stdout) > 2


@pytest.mark.parametrize("reader", ["| head -n 1", "2>&1 | true"])
@pytest.mark.parametrize("more", [[], ["--verbose", "--log-format", "json"]])
def test_a_reader_that_leaves_does_not_end_the_run(reader, more, tmp_path):
    run = command("run", PHONE, "--work-dir", tmp_path / "out", "--executor", "inline", *more)
    done = shell(f"set -o pipefail; {run} {reader}")
    assert done.returncode == 0
    assert "Traceback" not in done.stderr
    assert "BrokenPipe" not in done.stderr
    assert files_below(tmp_path / "out") == EVERY_FILE


@pytest.mark.parametrize("words", [["--help"], ["doctor", "--json"]])
def test_a_full_disk_under_stdout_is_one_line(words):
    done = shell(f"{command(*words)} > /dev/full")
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "Traceback" not in done.stderr


class _OnlyWrites:
    def write(self, text: str) -> int:
        return len(text)

    def flush(self) -> None:
        pass


class _Gone(_OnlyWrites):
    def write(self, text: str) -> int:
        raise BrokenPipeError


def _closed() -> io.StringIO:
    stream = io.StringIO()
    stream.close()
    return stream


@pytest.mark.parametrize("stream", [None, _OnlyWrites(), _closed()], ids=["None", "only write", "closed"])
def test_any_stderr_will_do(stream, tmp_path, monkeypatch):
    assert not is_terminal(stream)
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", 0.0)
    options = {"executor": "inline", "report": False}
    assert fastdup_ray.run(str(PHONE), work_dir=tmp_path / "out", **options) == 0
    monkeypatch.setattr(sys, "stderr", None if stream is None or isinstance(stream, io.StringIO) else stream)
    assert fastdup_ray.run(str(tmp_path / "nowhere"), work_dir=tmp_path / "out", **options) == 1


@pytest.mark.parametrize("stream", [None, _OnlyWrites(), _Gone()], ids=["None", "only write", "gone"])
def test_progress_goes_to_any_stdout(stream, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "stdout", stream)
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", 0.0)
    config = fastdup_ray.RunConfig.of(input_dir=PHONE, work_dir=tmp_path / "out", executor="inline", report=False)
    assert fastdup_ray.deduplicate(config).counts["images"] == 6


@pytest.mark.parametrize("environment", ["PYTHONUNBUFFERED=1", "PYTHONUNBUFFERED="])
def test_what_is_said_goes_out_as_python_was_asked(environment):
    """In a container, whose log is a pipe, line by line."""
    code = "from fastdup_ray.system.process import prepare_process as p; p(); print('said'); import os; os._exit(0)"
    said = shell(f"{environment} {shlex.join([sys.executable, '-c', code])}").stdout
    assert said == ("said\n" if environment.endswith("1") else "")


@pytest.mark.parametrize("module", ["fastdup_ray", "fastdup_ray.cli.main"])
def test_the_command_is_a_module_too(module, tmp_path):
    def module_run(*words: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run([sys.executable, "-m", module, *map(str, words)], capture_output=True, encoding="utf-8")

    assert module_run("run", PHONE, "--work-dir", tmp_path / "out", "--executor", "inline").returncode == 0
    assert files_below(tmp_path / "out") == EVERY_FILE
    assert module_run("run", tmp_path / "nowhere").returncode == 1
    usage = module_run("walk")
    assert usage.returncode == 2
    assert usage.stderr.startswith("fastdup-ray: No such command 'walk'.")
