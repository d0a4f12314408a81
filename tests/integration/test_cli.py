"""The command: every parameter a flag, a code for every end, and never a traceback."""

import os
import re
import signal
import subprocess
import sys
import time
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from fastdup_ray import RunConfig, __version__
from tests.checker import check
from tests.helpers.commands import call, parse_counts, run
from tests.helpers.images import save_cloudy
from tests.helpers.runs import EVERY_FILE, PHOTOS, files_below, run_inline

PHONE = PHOTOS / "phone"


@pytest.fixture
def help_text(capsys, monkeypatch) -> str:
    monkeypatch.setenv("COLUMNS", "200")
    assert call("run", "--help-all") == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("name", [name for name in RunConfig.model_fields if name != "input_dir"])
def test_every_parameter_is_a_flag_in_kebab_case_that_the_help_explains(name, help_text):
    flag = "--" + name.replace("_", "-")
    assert re.search(rf"(^|\s){flag}(\s|,|$|/)", help_text, re.MULTILINE)
    words = " ".join(help_text.split())
    assert RunConfig.model_fields[name].description.split(";")[0].split(":")[0][:40] in words


@pytest.mark.parametrize(
    "told",
    ["nearest-neighbors-k INTEGER", "cosine|euclidean", "cpu|gpu", "ray|inline", "[0.85]", "--no-report", "[INPUT]"],
)
def test_the_help_tells_types_choices_and_defaults(told, help_text):
    assert told in help_text


@pytest.mark.parametrize("arguments", [["--help"], ["-h"]])
def test_the_help_of_the_command_tells_its_exit_codes(arguments, capsys):
    assert call(*arguments) == 0
    text = capsys.readouterr().out
    assert all(code in text for code in ("0 done", "1 failed", "2 usage", "3 ", "4 ", "130 interrupted"))
    assert "run" in text


@pytest.mark.parametrize("arguments", [["--version"], ["run", "--version"]])
def test_the_version_is_printed(arguments, capsys):
    assert call(*arguments) == 0
    assert capsys.readouterr().out == f"{__version__}\n"


def test_a_run_ends_with_0_and_every_file(tmp_path, capsys):
    assert call("run", PHONE, "--work-dir", tmp_path / "out", "--executor", "inline") == 0
    assert files_below(tmp_path / "out") == EVERY_FILE
    assert check(tmp_path / "out", PHONE) == []
    told = capsys.readouterr()
    assert parse_counts(told.out) == [6, 6, 0]
    assert told.err == ""


@pytest.mark.parametrize(
    ("flags", "parameters"),
    [
        (["--threshold", "0.5"], {"threshold": 0.5}),
        (["--nearest-neighbors-k", "5"], {"nearest_neighbors_k": 5}),
        (["--turi-param", "ccthreshold=0.9,run_cc=1"], {"ccthreshold": 0.9}),
        (["--run-cc", "0"], {"run_cc": False}),
        (["--faiss-mode", "HSNW32", "--faiss-param", "efSearch=175"], {"faiss_mode": "HNSW32"}),
        (["--num-images", "3", "--no-report"], {"num_images": 3, "report": False}),
        (["--run-mode", "0", "--num-threads", "1", "--max-offset", "-1"], {"num_threads": 1}),
    ],
)
def test_a_flag_does_what_its_parameter_does(flags, parameters, tmp_path):
    assert call("run", PHONE, "--work-dir", tmp_path / "out", "--executor", "inline", *flags) == 0
    reference = run_inline(PHONE, tmp_path / "reference", **parameters)
    for name in ("similarity.csv", "features.dat", "connected_components.csv", "faiss.index"):
        one, other = tmp_path / "out" / name, Path(reference.work_dir) / name
        assert one.exists() == other.exists()
        assert not one.exists() or name == "faiss.index" or one.read_bytes() == other.read_bytes()
    assert (tmp_path / "out" / "report").exists() == (Path(reference.work_dir) / "report").exists()


def failure(capsys, code: int, *arguments: object) -> str:
    """The command ends with `code`; returns what it says on stderr."""
    assert call(*arguments) == code
    told = capsys.readouterr()
    assert told.out == ""
    assert "Traceback" not in told.err
    return told.err


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["run", PHONE, "--treshold", "0.5"], "--threshold"),
        (["run", PHONE, "--threshold", "2"], "Invalid value for --threshold: 2 "),
        (["run", PHONE, "--threshold", "high"], "Invalid value for --threshold: high "),
        (["run", PHONE, "--threshold"], "--threshold"),
        (["run", PHONE, "--distance", "hamming"], "'cosine', 'euclidean'"),
        (["run", PHONE, "--faiss-param", "ef=3"], "efSearch"),
        (["run", PHONE, "--ccthreshold", "0.9", "--turi-param", "ccthreshold=0.8"], "twice"),
        (["run", PHONE, "--bounding-box", "rows=1"], "--bounding-box"),
        (["run"], "INPUT is missing"),
        (["run", PHONE, PHONE], "unexpected extra argument"),
        (["walk"], "No such command"),
    ],
)
def test_a_mistake_in_the_call_ends_with_2_and_writes_nothing(arguments, told, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert told in failure(capsys, 2, *arguments)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("wrong", ["--threshold=2", "--run-mode=9", "--nn-provider=annoy"])
def test_a_value_that_is_not_possible_is_one_line(wrong, capsys):
    assert failure(capsys, 2, "run", PHONE, wrong).count("\n") == 1


def test_an_input_that_is_not_there_ends_with_1(tmp_path, capsys):
    told = failure(capsys, 1, "run", tmp_path / "nowhere", "--work-dir", tmp_path / "out")
    assert told.startswith("fastdup-ray: ")
    assert told.count("\n") == 1
    assert "nowhere" in told
    assert list(tmp_path.iterdir()) == []


def test_pictures_that_are_all_bad_end_with_1(tmp_path, capsys):
    told = failure(capsys, 1, "run", PHOTOS / "broken", "--work-dir", tmp_path / "out", "--executor", "inline")
    for name in ("empty.jpg", "half.jpg", "letter.jpg", "pixel.png", "scratched.png"):
        assert f"{PHOTOS}/broken/{name}: " in told
    # Nothing was found there, so other images need no --overwrite.
    assert call("run", PHONE, "--work-dir", tmp_path / "out", "--executor", "inline", "--no-report") == 0


@pytest.mark.parametrize("text", ["broken", "<html>not found</html>", "{}"])
def test_a_text_with_the_name_of_an_image_is_a_bad_image_rather_than_a_list(text, tmp_path, capsys):
    (tmp_path / "one.jpg").write_text(text)
    told = failure(capsys, 1, "run", tmp_path / "one.jpg", "--work-dir", tmp_path / "out", "--executor", "inline")
    assert f"{tmp_path}/one.jpg: not an image" in told


def test_a_list_comes_from_standard_input(tmp_path):
    words = [sys.executable, "-c", COMMAND, "run", "-", "-q", "-o", tmp_path / "out", "--executor", "inline"]
    paths = "\n".join(str(path) for path in sorted(PHONE.iterdir())[:2])
    done = subprocess.run([*map(str, words)], input=paths, capture_output=True, text=True)
    assert done.stdout == f"{tmp_path}/out/report/index.html\n"
    assert done.stderr == ""


def test_quiet_prints_the_work_dir_if_there_is_no_report(tmp_path, capsys):
    assert call("run", PHONE, "-qo", tmp_path / "out", "--executor", "inline", "--no-report") == 0
    assert capsys.readouterr().out == f"{tmp_path}/out\n"


def test_an_error_names_flags_in_the_words_of_the_shell(tmp_path, capsys):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "similarity.csv").write_text("mine")
    told = failure(capsys, 1, "run", PHONE, "-o", tmp_path / "out", "--executor", "inline")
    assert "replace it with --overwrite." in told


def test_the_command_is_installed():
    (command,) = entry_points(group="console_scripts", name="fastdup-ray")
    assert command.value == "fastdup_ray.__main__:main"


# --- in a process of its own ------------------------------------------------------------------------------------------

COMMAND = (
    "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
    "from fastdup_ray.cli.main import main; main()"
)


def started(*arguments: object, **environment: str) -> subprocess.Popen:
    words = [sys.executable, "-c", COMMAND, *map(str, arguments)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(words, **pipes, env=os.environ | environment, start_new_session=True)


@pytest.mark.slow
def test_the_command_works_in_a_process_of_its_own_without_escape_codes(tmp_path):
    with started("run", PHONE, "--work-dir", tmp_path / "out", "--executor", "inline") as process:
        out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "")
    assert parse_counts(out) == [6, 6, 0]
    assert "\r" not in out
    assert "\x1b" not in out


@pytest.mark.slow
def test_an_interrupted_run_on_ray_ends_with_130_says_how_to_go_on_and_does(tmp_path, ray_session):
    pictures, work_dir = tmp_path / "pictures", tmp_path / "out"
    total = len(save_cloudy(pictures, 600, (32, 24)))
    flags = ("--work-dir", work_dir, "--shard-size", 16, "--num-actors", 1, "--no-report")
    with started("run", pictures, *flags, RAY_ADDRESS=ray_session) as process:
        end = time.monotonic() + 60
        while not list(work_dir.glob("shards/*.shard")) and process.poll() is None and time.monotonic() < end:
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 130, out + err
    assert "Run the same command to resume" in err
    assert "Traceback" not in err
    assert not [name for name in files_below(work_dir) if ".tmp-" in name]
    again = run_inline(pictures, work_dir, report=False)
    assert 0 < again.summary["read"] < total
    assert check(work_dir) == []


def test_verbose_tells_what_is_done_and_how_long_it_took(tmp_path):
    arguments = [PHONE, "--work-dir", tmp_path / "out", "--executor", "inline", "--no-report"]
    verbosely = ["--verbose"], ["--verbose", "--threshold", 0.5]
    quiet, *verbose = (run(*arguments, *more).stderr for more in ([], *verbosely))
    assert quiet == ""
    assert all("6 entries, 0 to read" in text for text in verbose)
    assert "neighbors: " in verbose[1]


def test_a_faiss_parameter_without_effect_is_one_warning(tmp_path):
    done = run(PHONE, "--work-dir", tmp_path / "out", "--executor", "inline", "--faiss-param", "efSearch=9,nprobe=3")
    assert done.returncode == 0
    assert done.stderr.count("no effect") == 1
    assert "efSearch, nprobe: the index Flat has no such" in done.stderr
