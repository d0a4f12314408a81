"""What is shown of a run while it works."""

import io
import sys
import time

import pytest

from fastdup_ray import RunConfig
from fastdup_ray.runs import progress
from fastdup_ray.runs.progress import report_verification, show_duration, show_stage


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(progress, "REFRESH_SECONDS", 0.02)


def replace_stderr(monkeypatch, stream: io.StringIO) -> io.StringIO:
    """To be called by the test itself: pytest puts its own stream there before each."""
    monkeypatch.setattr(sys, "stderr", stream)
    return stream


def config(**parameters: object) -> RunConfig:
    return RunConfig.of(input_dir="photos", **parameters)


def test_a_stage_shows_a_line_that_vanishes_at_its_end(monkeypatch):
    terminal = replace_stderr(monkeypatch, Terminal())
    with show_stage("Listing", config()):
        time.sleep(0.2)
    assert "Listing" in terminal.getvalue()
    assert terminal.getvalue().rpartition("\r")[0].endswith(" ")  # blanks over the line


def test_a_short_stage_shows_nothing(monkeypatch):
    terminal = replace_stderr(monkeypatch, Terminal())
    with show_stage("Listing", config()):
        pass
    assert "Listing" not in terminal.getvalue()


@pytest.mark.parametrize("parameters", [{"verbose": True}, {"log_format": "json"}])
def test_what_is_told_in_lines_is_not_shown_too(parameters, monkeypatch):
    terminal = replace_stderr(monkeypatch, Terminal())
    with show_stage("Listing", config(**parameters)):
        time.sleep(0.1)
    assert terminal.getvalue() == ""


def test_a_pipe_gets_no_line_that_changes(monkeypatch):
    pipe = replace_stderr(monkeypatch, io.StringIO())
    with show_stage("Listing", config()):
        time.sleep(0.1)
    show_duration(3, config())
    assert pipe.getvalue() == ""


def test_the_clock_of_a_bar_runs_while_no_item_comes(monkeypatch):
    terminal = replace_stderr(monkeypatch, Terminal())

    def pieces():
        time.sleep(0.2)
        yield 10

    assert list(report_verification(pieces(), 10, "text")) == [10]
    assert terminal.getvalue().count("0/10") > 3


def test_a_terminal_is_told_how_long_it_took(monkeypatch):
    terminal = replace_stderr(monkeypatch, Terminal())
    show_duration(3.21, config())
    assert terminal.getvalue() == "Done in 3.2 s.\n"
