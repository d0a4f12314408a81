"""Help, completion and colors: quick, complete, and the same facts as the code."""

import inspect
import json
import os
import pty
import re
import shlex
import subprocess
import sys

import click
import pytest
from click.shell_completion import ShellComplete

from fastdup_ray.analysis.keeper_assignment import GROUPINGS
from fastdup_ray.analysis.keepers import DEFAULT_RULES, list_rules
from fastdup_ray.cli import export, plan, split
from fastdup_ray.cli.group import COMMANDS, PROGRAM, cli
from fastdup_ray.cli.serve import has_desktop
from fastdup_ray.config import RunConfig
from fastdup_ray.curation.duplicate_rules import DEFAULT_DROP, DROPPABLE, STRICT
from fastdup_ray.export import FORMATS
from fastdup_ray.export.split import PARTS
from tests.helpers.commands import call

NAMES = [name for commands in COMMANDS.values() for name in commands]

HEAVY = {
    "ray",
    "numpy",
    "pyarrow",
    "faiss",
    "onnxruntime",
    "PIL",
    "cv2",
    "scipy",
    "sklearn",
    "boto3",
    "obstore",
    "tqdm",
}


def get(name: str) -> click.Command:
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    return command


@pytest.mark.parametrize(
    ("arguments", "unused"),
    [
        (["--help"], HEAVY | {"pydantic"}),
        (["--version"], HEAVY | {"pydantic"}),
        *(([name, "--help"], HEAVY) for name in NAMES),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_help_imports_nothing_slow(arguments, unused):
    code = (
        "import json, sys\nfrom fastdup_ray.__main__ import main\n"
        "try:\n    main()\nfinally:\n    print(json.dumps(list(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True)
    assert done.returncode == 0
    assert unused.isdisjoint(json.loads(done.stderr))


@pytest.mark.parametrize("name", NAMES)
def test_the_list_of_commands_has_the_first_sentence_of_their_help(name):
    (text,) = (commands[name] for commands in COMMANDS.values() if name in commands)
    assert re.split(r"(?<=\.)\s", inspect.cleandoc(get(name).help or ""))[0] == text


def test_the_help_of_plan_and_export_says_what_the_code_does():
    assert ", ".join(plan.RULES) == list_rules()
    assert (plan.KEEP, plan.GROUPINGS, plan.THRESHOLD) == (DEFAULT_RULES, GROUPINGS, STRICT)
    assert (plan.DROP, set(plan.DROPPABLE)) == (DEFAULT_DROP, set(DROPPABLE))
    assert tuple(FORMATS) == export.FORMATS
    assert split.PARTS == PARTS


@pytest.mark.parametrize("name", NAMES)
def test_each_command_ends_with_examples_that_it_accepts(name, capsys):
    assert call(name, "--help") == 0
    examples = capsys.readouterr().out.split("Examples:\n")[1].strip().splitlines()
    assert examples
    for line in examples:
        words = shlex.split(line.split(" | ")[-1])
        assert words[:2] == [PROGRAM, name]
        get(name).make_context(name, words[2:])


@pytest.mark.parametrize("name", ["run", "leakage"])
def test_help_shows_a_dozen_options_and_help_all_shows_all(name, capsys):
    assert call(name, "--help") == 0
    front = capsys.readouterr().out
    assert call(name, "--help-all") == 0
    everything = capsys.readouterr().out
    flags = [max(option.opts, key=len) for option in get(name).params if isinstance(option, click.Option)]
    shown = [flag for flag in flags if re.search(rf"^ .*{flag}\b", front, re.MULTILINE)]
    assert 12 <= len(shown) <= 20
    assert {"--work-dir", "--executor", "--help-all"} <= set(shown)
    for flag in flags:
        assert len(re.findall(rf"^  (?:-\w, )?{flag}(?![\w-])", everything, re.MULTILINE)) == 1, flag
    assert "\nOptions:\n  --help-all" in everything  # every other option has a heading


def test_without_a_command_the_help_is_shown(capsys):
    assert call("--help") == 0
    text = capsys.readouterr().out
    assert call() == 2
    assert capsys.readouterr() == ("", text)


@pytest.mark.parametrize(
    ("wrong", "similar"), [(["rnu"], "'run'"), (["plam", "out"], "'plan'"), (["undo", "--onyl", "x"], "--only")]
)
def test_a_misspelt_name_is_told_with_a_similar_one(wrong, similar, capsys):
    assert call(*wrong) == 2
    told = capsys.readouterr().err
    assert similar in told
    assert told.startswith(f"{PROGRAM}: ")
    assert "--help" in told


@pytest.mark.parametrize(
    ("words", "incomplete", "offered"),
    [
        ([], "u", {"undo"}),
        (["run"], "ph", {("file", "ph")}),
        (["run", "x", "-o"], "o", {("dir", "o")}),
        (["run", "x"], "--thr", {"--threshold"}),
        (["run", "x", "--distance"], "c", {"cosine"}),
        (["run", "x", "--invariant"], "flip,r", {"flip,rotate"}),
        (["plan"], "", {("dir", "")}),
        (["plan", "out", "--keep"], "reference,ol", {"reference,oldest"}),
        (["apply"], "", {("file", "")}),
        (["export", "out", "--format"], "k", {"keep-list"}),
    ],
)
def test_tab_offers_commands_options_choices_and_paths(words, incomplete, offered):
    items = ShellComplete(cli, {}, PROGRAM, "_COMPLETE").get_completions(words, incomplete)
    assert {item.value if item.type == "plain" else (item.type, item.value) for item in items} == offered


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_command_prints_the_script_that_completes_it(shell):
    done = subprocess.run(
        [sys.executable, "-m", "fastdup_ray"],
        env=os.environ | {"_FASTDUP_RAY_COMPLETE": f"{shell}_source"},
        capture_output=True,
        text=True,
    )
    assert "_FASTDUP_RAY_COMPLETE" in done.stdout


@pytest.mark.parametrize(
    ("environment", "colored"), [({}, True), ({"NO_COLOR": "1"}, False)], ids=["terminal", "NO_COLOR"]
)
@pytest.mark.parametrize("arguments", [["plan", "--help"], ["run", "x", "--threshold", "2"]], ids=["help", "error"])
def test_a_terminal_gets_colors_unless_it_asks_for_none(arguments, environment, colored):
    ours, theirs = pty.openpty()
    clean = {name: value for name, value in os.environ.items() if name != "NO_COLOR"} | {"TERM": "xterm"}
    with subprocess.Popen(
        [sys.executable, "-m", "fastdup_ray", *arguments], stdout=theirs, stderr=theirs, env=clean | environment
    ):
        os.close(theirs)
        told = _read(ours)
    assert (b"\x1b[" in told) == colored
    assert b"--" in told


def _read(descriptor: int) -> bytes:
    """Read a terminal until nobody writes to it any more, which Linux reports as an error."""
    told = b""
    try:
        while part := os.read(descriptor, 4096):
            told += part
    except OSError:
        pass
    os.close(descriptor)
    return told


@pytest.mark.parametrize(
    ("environment", "platform", "desktop"),
    [
        ({"DISPLAY": ":0"}, "linux", True),
        ({"WAYLAND_DISPLAY": "wayland-0"}, "linux", True),
        ({}, "darwin", True),
        ({}, "linux", False),
        ({"DISPLAY": "localhost:10.0", "SSH_CONNECTION": "10.0.0.1 50000 10.0.0.2 22"}, "linux", False),
        ({"SSH_TTY": "/dev/pts/1"}, "darwin", False),
    ],
)
def test_a_browser_is_opened_on_a_desktop_only(environment, platform, desktop):
    assert has_desktop(environment, platform) is desktop


def test_quiet_is_a_value_of_log_format(capsys, tmp_path):
    assert RunConfig.of(input_dir=".", log_format="quiet").log_format == "quiet"
    for other in (["--verbose"], ["--log-format", "json"]):
        assert call("run", tmp_path, "-q", *other) == 2
        told = capsys.readouterr().err
        assert "--quiet" in told
        assert other[0] in told
