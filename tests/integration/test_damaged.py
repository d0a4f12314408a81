"""Damaged files of a work_dir: every command that reads one says so in one line, and none gives a wrong answer."""

import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fastdup_ray import RunResult, load_binary_feature, make_plan
from fastdup_ray.common import layout
from fastdup_ray.curation.report_service import ReportService
from fastdup_ray.errors import FastdupError
from fastdup_ray.report.galleries import create_components_gallery, create_duplicates_gallery, create_outliers_gallery
from fastdup_ray.storage import open_store
from fastdup_ray.storage.checked_json import hash_file, read_json, write_json
from tests.helpers.commands import call
from tests.helpers.images import cloudy, encode
from tests.helpers.runs import run_inline

Damage = Callable[[Path], object]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of one run, whose files are put back after each damage: photos/, out/ with a plan, truth.csv."""
    folder = tmp_path_factory.mktemp("damaged")
    (folder / "photos").mkdir()
    for number, seed in enumerate((1, 1, 2, 3)):
        (folder / f"photos/{number}.png").write_bytes(encode(cloudy(seed), "PNG"))
    (folder / "photos/bad.png").write_bytes(b"no image")
    run_inline(folder / "photos", folder / "out", threshold=0.1)
    make_plan(folder / "out")
    (folder / "truth.csv").write_text("path,group\nphotos/0.png,a\nphotos/1.png,a\nphotos/2.png,b\n")
    return folder


@contextmanager
def damaged(work_dir: Path, name: str, damage: Damage) -> Iterator[None]:
    path = work_dir / name
    whole = {file: file.read_bytes() for file in {path, work_dir / layout.SUMMARY}}
    damage(path)
    try:
        yield
    finally:
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        for file, content in whole.items():
            file.write_bytes(content)


# Who reads what


def _command(*words: str) -> Callable[[Path], int]:
    return lambda folder: call(*(word.replace("@", os.fspath(folder)) for word in words))


def _python(act: Callable[[Path], object]) -> Callable[[Path], int]:
    """The same with the errors of Python, which are ours."""

    def run(folder: Path) -> int:
        try:
            act(folder)
        except FastdupError as error:
            print(f"fastdup-ray: {error}", file=sys.stderr)
            return error.exit_code
        return 0

    return run


def _open_result(folder: Path) -> None:
    result = RunResult.open(folder / "out")
    result.counts, result.similarity, result.outliers, result.bad, result.to_arrow()


def _serve(folder: Path) -> None:
    served = ReportService(folder / "out")
    served.render_page(), served.read_plan()


def _make_galleries(folder: Path) -> None:
    options: dict[str, Any] = {"work_dir": folder / "out", "save_path": folder / "galleries", "thumbnails": False}
    for create in (create_duplicates_gallery, create_outliers_gallery, create_components_gallery):
        create(**options, overwrite=True)


READERS = {
    "plan": _command("plan", "@/out", "--save-path", "@/new.csv", "--overwrite"),
    "export": _command("export", "@/out", "--format", "fiftyone", "--save-path", "@/new.json", "--overwrite"),
    "gallery": _command("gallery", "@/out", "--save-path", "@/pages", "--overwrite", "--no-thumbnails"),
    "link": _command("apply", "@/out/plan.csv", "--link", "hard", "--to", "@/clean"),
    "apply": _command("apply", "@/out/plan.csv", "--quarantine", "@/quarantine"),
    "evaluate": _command("evaluate", "@/out", "@/truth.csv"),
    "serve": _python(_serve),
    "RunResult": _python(_open_result),
    "galleries": _python(_make_galleries),
    "load": _python(lambda folder: load_binary_feature(folder / "out/features.dat")),
}

READ_BY = {
    layout.SUMMARY: ["plan", "export", "gallery", "link", "serve", "RunResult"],
    layout.CONFIG: ["plan", "gallery", "serve", "galleries"],
    layout.IMAGES: ["plan", "export", "gallery", "link", "serve", "RunResult", "galleries"],
    layout.SIMILARITY: ["RunResult"],
    layout.COMPONENTS: ["export", "gallery", "RunResult", "galleries"],
    layout.FEATURES: ["plan", "gallery", "evaluate", "load"],
    layout.FEATURES_CSV: ["plan", "export", "gallery", "evaluate", "galleries", "load"],
    layout.SIMILARITY_CSV: ["plan", "gallery", "serve", "galleries"],
    layout.OUTLIERS_CSV: ["export", "gallery", "RunResult", "galleries"],
    layout.EXACT_COPIES_CSV: ["export", "gallery", "RunResult", "galleries"],
    layout.BAD_CSV: ["gallery", "RunResult"],
    layout.PLAN_CSV: ["export", "apply", "link", "serve"],
    layout.REPORT: ["serve"],
}


def check_all(
    finished: Path, name: str, damage: Damage, capsys: pytest.CaptureFixture[str], readers: Sequence[str] = ()
) -> None:
    """Each reader of a file, or each of `readers`, ends with 1 and one line."""
    wrong = []
    with damaged(finished / "out", name, damage):
        for reader in readers or READ_BY[name]:
            code = READERS[reader](finished)
            lines = capsys.readouterr().err.splitlines()
            if code != 1 or len(lines) != 1 or not lines[0].startswith("fastdup-ray: "):
                wrong.append((reader, code, lines))
    assert wrong == []


def test_what_is_whole_is_read_by_all(finished, capsys):
    assert {reader: act(finished) for reader, act in READERS.items()} == dict.fromkeys(READERS, 0)


# Any file


def forged(damage: Damage) -> Damage:
    """The same by somebody who writes the digest of what he made into the summary."""

    def act(path: Path) -> None:
        damage(path)
        store = open_store(path.parent)
        summary = read_json(store, layout.SUMMARY)
        summary["sha256"] |= {path.name: hash_file(path)}
        write_json(store, layout.SUMMARY, summary)

    return act


def make_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


ANY: dict[str, Damage] = {
    "empty": lambda path: path.write_bytes(b""),
    "cut": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2 + 1]),
    "random bytes": lambda path: path.write_bytes(np.random.default_rng(1).bytes(path.stat().st_size + 1)),
    "folder": make_folder,
}


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        (name, damage)
        for name in READ_BY
        for damage in ANY
        if damage != "cut" or not name.endswith((".csv", ".html"))  # these may be whole ones that are shorter
    ],
)
def test_a_file_that_is_not_whole_is_told_in_one_line(finished, capsys, name, damage):
    check_all(finished, name, ANY[damage], capsys)


# JSON

OTHER_JSON = {
    "list": b"[]",
    "null": b"null",
    "number": b"7",
    "deep list": b"[" * 100_000,
    "deep object": b'{"a":' * 100_000,
    "not UTF-8": b'{"a": "\xff"}',
    "long number": b'{"max_pixels": ' + b"9" * 5_000 + b"}",
}


@pytest.mark.parametrize("text", OTHER_JSON.values(), ids=OTHER_JSON)
@pytest.mark.parametrize("name", [layout.SUMMARY, layout.CONFIG])
def test_other_json_is_told_in_one_line(finished, capsys, name, text):
    def damage(path: Path) -> None:
        path.write_bytes(text)

    check_all(finished, name, damage if name == layout.SUMMARY else forged(damage), capsys)


@pytest.mark.parametrize(
    "values",
    [
        {"max_pixels": "x"},
        {"max_pixels": 1e999},
        {"distance": ["cosine"]},
        {"input_dir": 7},
        {"ccthreshold": {}},
        {"thumbnails": "perhaps"},
    ],
)
def test_a_config_that_no_run_can_have_is_told_in_one_line(finished, capsys, values):
    def change(path: Path) -> None:
        path.write_text(json.dumps(json.loads(path.read_text()) | values))

    check_all(finished, layout.CONFIG, forged(change), capsys)


@pytest.mark.parametrize(
    "values",
    [
        {"d": "x"},
        {"d": 0},
        {"d": 10**30},
        {"features_file": ["features.dat"]},
        {"features_file": "../../etc/passwd"},
        {"counts": [1]},
        {"counts": {"images": "many"}},
        {"neighbors": []},
        {"neighbors": {"recall": "x"}},
        {"fingerprint": 7},
        {"seconds": {"list": "long"}},
        {"warnings": 3},
    ],
)
def test_a_sealed_summary_with_values_that_no_run_writes_is_told_in_one_line(finished, capsys, values):
    """Who hands somebody a work_dir can seal it, too."""

    def change(path: Path) -> None:
        store = open_store(path.parent)
        write_json(store, path.name, read_json(store, path.name) | values)

    check_all(finished, layout.SUMMARY, change, capsys)


# Tables


def change_table(change: Callable[[pa.Table], pa.Table]) -> Damage:
    return forged(lambda path: pq.write_table(change(pq.read_table(path)), path))


def with_column(name: str, value: Any, table: pa.Table) -> pa.Table:
    return table.set_column(table.column_names.index(name), name, pa.array([value] * len(table)))


NEEDED = {layout.IMAGES: "filename", layout.COMPONENTS: "count", layout.SIMILARITY: "from"}

OTHER_TABLES: dict[str, Callable[[str], Callable[[pa.Table], pa.Table]]] = {
    "without columns": lambda name: lambda table: table.select([]),
    "without a column": lambda name: lambda table: table.drop_columns([name]),
    "a column twice": lambda name: lambda table: table.append_column(name, table[name]),
    "a column of lists": lambda name: partial(with_column, name, [1]),
    "a column of bytes": lambda name: partial(with_column, name, b"\xff"),
    "a column of booleans": lambda name: partial(with_column, name, True),
    "a column of nulls": lambda name: partial(with_column, name, None),
}


@pytest.mark.parametrize("change", OTHER_TABLES.values(), ids=OTHER_TABLES)
@pytest.mark.parametrize("name", NEEDED)
def test_a_table_of_another_kind_is_told_in_one_line(finished, capsys, name, change):
    check_all(finished, name, change_table(change(NEEDED[name])), capsys)


@pytest.mark.parametrize("change", [lambda table: table.slice(1), lambda table: pa.concat_tables([table, table])])
@pytest.mark.parametrize("name", [layout.IMAGES, layout.COMPONENTS])
def test_a_table_with_other_rows_is_told_in_one_line(finished, capsys, name, change):
    check_all(finished, name, change_table(change), capsys)


def edit(change: Callable[[list[bytes]], list[bytes]]) -> Damage:
    """Change the lines of a CSV."""
    return forged(lambda path: path.write_bytes(b"".join(change(path.read_bytes().splitlines(keepends=True)))))


def last_cell(text: bytes) -> Damage:
    return edit(lambda lines: [lines[0], *(line.rpartition(b",")[0] + b"," + text + b"\n" for line in lines[1:])])


@pytest.mark.parametrize("name", [name for name in READ_BY if name.endswith(".csv")])
def test_a_csv_of_another_kind_is_told_in_one_line(finished, capsys, name):
    check_all(finished, name, edit(lambda lines: [b"a,b\n", *lines[1:]]), capsys)
    check_all(finished, name, edit(lambda lines: [*lines, b"1,2,3,4,5,6,7,8,9,10,11,12,13\n"]), capsys)


@pytest.mark.parametrize("name", [layout.FEATURES_CSV, layout.PLAN_CSV])
def test_rows_that_are_there_twice_are_told_in_one_line(finished, capsys, name):
    check_all(finished, name, edit(lambda lines: [*lines, *lines[1:]]), capsys)


def test_names_that_no_file_can_have_are_told_in_one_line(finished, capsys):
    spoil = edit(lambda lines: [line.replace(b"/photos/", b"/ph\0tos/") for line in lines])
    check_all(finished, layout.PLAN_CSV, spoil, capsys)


@pytest.mark.parametrize("text", [b"near", b"", b"nan", b"1e999"])
def test_distances_that_are_no_numbers_are_told_in_one_line(finished, capsys, text):
    spoil = edit(lambda lines: [lines[0], *(line.rpartition(b",")[0] + b"," + text + b"\n" for line in lines[1:])])
    check_all(finished, layout.SIMILARITY_CSV, spoil, capsys, ["gallery", "galleries"])


def test_features_that_are_no_numbers_are_told_in_one_line(finished, capsys):
    def spoil(path: Path) -> None:
        np.full(path.stat().st_size // 4, np.nan, "<f4").tofile(path)

    check_all(finished, layout.FEATURES, forged(spoil), capsys, ["gallery", "evaluate"])


# Runs

RUN = ("--executor", "inline", "--threshold", "0.1", "--no-report")
OUTPUTS = (layout.FEATURES, layout.FEATURES_CSV, layout.BAD_CSV, layout.SIMILARITY_CSV, layout.COMPONENTS_CSV)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (layout.SUMMARY, b"[" * 100_000),
        (layout.CONFIG, b"null"),
        (layout.MANIFEST, b"PAR1"),
        (layout.FEATURES, b""),
        (layout.SIMILARITY_CSV, b"from"),
    ],
)
def test_a_run_makes_again_what_is_damaged(finished, name, text):
    before = {output: (finished / "out" / output).read_bytes() for output in OUTPUTS}
    (finished / "out" / name).write_bytes(text)
    assert call("run", finished / "photos", "--work-dir", finished / "out", *RUN) == 0
    assert {output: (finished / "out" / output).read_bytes() for output in OUTPUTS} == before


@pytest.mark.parametrize("name", [layout.FEATURES_CSV, layout.FAISS_INDEX, layout.SUMMARY])
def test_a_scoring_against_what_is_damaged_is_refused_in_one_line(finished, capsys, name):
    with damaged(finished / "out", name, ANY["random bytes"]):
        assert call("run", finished / "photos", "--work-dir", finished / "out", "--run-mode", "3", *RUN[:2]) == 1
    assert len(capsys.readouterr().err.splitlines()) == 1
