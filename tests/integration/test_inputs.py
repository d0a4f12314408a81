"""Runs on lists, references and filtered inputs."""

import os

from tests.helpers.images import cloudy, save_cloudy
from tests.helpers.listing import listed
from tests.helpers.runs import csv_rows, run_inline


def test_pictures_under_min_size_are_bad(tmp_path):
    save_cloudy(tmp_path / "in", 1, (64, 48))
    save_cloudy(tmp_path / "in" / "small", 1, (200, 20))
    for min_size, bad in ((20, 0), (21, 1)):
        assert run_inline(tmp_path / "in", tmp_path / "out", report=False, min_size=min_size).counts["bad"] == bad
        told = [row[1:] for row in csv_rows(tmp_path / "out" / "features.bad.csv")[1:]]
        assert told == [["TOO_SMALL", "200 x 20 pixels; 21 a side are needed"]] * bad


def test_the_list_of_a_finished_run_is_a_list(finished):
    names = [line.split(",", 1)[1] for line in (finished / "features.dat.csv").read_text().splitlines()[1:]]
    assert len(listed(finished / "features.dat.csv")) == len(names)


def test_a_picture_of_both_inputs_is_a_reference_and_stands_first(tmp_path):
    save_cloudy(tmp_path / "all", 2)
    (tmp_path / "all" / "originals").mkdir()
    cloudy(7).save(tmp_path / "all" / "originals" / "z.jpg")
    originals = str(tmp_path / "all" / "originals")
    result = run_inline(str(tmp_path / "all"), tmp_path / "out", reference=originals)
    assert [os.path.basename(name) for name in result.images["filename"].to_pylist()] == [
        "z.jpg",
        "0000.jpg",
        "0001.jpg",
    ]
    assert result.images["reference"].to_pylist() == [True, False, False]


def test_the_command_takes_patterns_several_times(tmp_path):
    from click.testing import CliRunner

    from fastdup_ray.cli.group import cli

    folder = tmp_path / "in"
    save_cloudy(folder, 3)
    flags = ["--exclude", "0000.jpg", "--exclude", "0001.jpg", "--executor", "inline", "--run-mode", "1"]
    result = CliRunner().invoke(cli, ["run", str(folder), "--work-dir", str(tmp_path / "out"), *flags])
    assert result.exit_code == 0, result.output
    assert [row[1] for row in csv_rows(tmp_path / "out" / "features.dat.csv")[1:]] == [f"{folder}/0002.jpg"]
    assert "--include GLOB" in CliRunner().invoke(cli, ["run", "--help"]).output
