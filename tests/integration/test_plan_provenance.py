"""A plan belongs to its run: one that another run made, or that names what the run did not see, moves nothing."""

import csv
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest

from fastdup_ray import apply_plan, build_dataset, export, make_plan
from fastdup_ray.common import layout
from fastdup_ray.common.layout import SCORED
from fastdup_ray.curation.plan import Plan
from fastdup_ray.curation.plan_file import read_plan, write_plan
from fastdup_ray.curation.plan_row import PlanRow
from fastdup_ray.curation.provenance import SeenImages, carry_over, check_provenance
from fastdup_ray.curation.report_service import ReportService
from fastdup_ray.errors import InputError
from fastdup_ray.outputs.run_identity import digest_images
from fastdup_ray.storage import open_store
from fastdup_ray.storage.tables import encode_names
from tests.conftest import Bucket
from tests.helpers.commands import call
from tests.helpers.images import cloudy, encode
from tests.helpers.plans import fill, plan_to_json, row, state, write
from tests.helpers.runs import files_below, run_inline


@pytest.fixture
def photos(tmp_path) -> Path:
    folder = tmp_path / "photos"
    fill(folder, ["keep.jpg", "drop.jpg", "other.jpg", "unseen.jpg"])
    return folder


@pytest.fixture
def rows(photos) -> list[PlanRow]:
    keeper = photos / "keep.jpg"
    return [row(keeper), row(photos / "drop.jpg", keeper), row(photos / "other.jpg")]


@pytest.fixture
def plan(rows, tmp_path) -> Path:
    return write(tmp_path / "out", rows)


def edit(plan: Path, change: Callable[[dict[str, str]], object], **options: str) -> Path:
    """Change each row of the file as a spreadsheet would; options: of `csv.DictWriter`."""
    with open(plan, newline="") as file:
        cells = list(csv.DictReader(file))
    kept = [line for line in cells if change(line) is not False]
    columns = dict.fromkeys(name for line in cells for name in line)
    with open(plan, "w", newline="") as file:
        writer = csv.DictWriter(file, columns, **options)
        writer.writeheader()
        writer.writerows(kept)
    return plan


def refuse(plan: Path, photos: Path, capsys, *options: object) -> str:
    """The one line with which apply refuses a plan, having moved nothing."""
    before, quarantine = state(photos), plan.parent / "q"
    for more in ([], ["--execute"]):
        assert call("apply", plan, "--quarantine", quarantine, *options, *more) == 1
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    assert state(photos) == before
    assert not quarantine.exists()
    return lines[0]


def without_run(line):
    del line["run"]


def of_another_run(line):
    line["run"] = "ab" * 32


def of_several_runs(line):
    if line["action"] == "keep":
        line["run"] = "ab" * 32


def partly_of_none(line):
    if line["action"] == "drop":
        line["run"] = ""


def never_seen(line):
    line["filename"] = line["filename"].replace("drop.jpg", "unseen.jpg")


def other_bytes(line):
    line["sha256"] = "00" * 32


def other_size(line):
    line["size"] = "1"


def no_size(line):
    line["size"] = ""


def with_etag(line):
    line["etag"] = "x"


def as_reference(line):
    line["reference"] = str(int(line["action"] == "keep"))


EDITS = [of_another_run, of_several_runs, partly_of_none, without_run, never_seen]
EDITS += [other_bytes, other_size, no_size, with_etag, as_reference]


@pytest.mark.parametrize("change", EDITS, ids=lambda change: change.__name__)
def test_a_plan_that_the_run_did_not_make_moves_nothing(change, plan, photos, capsys):
    refuse(edit(plan, change), photos, capsys)


def test_a_plan_of_an_earlier_version_says_what_to_do(plan, photos, capsys):
    line = refuse(edit(plan, without_run), photos, capsys)
    assert "fastdup-ray plan" in line
    assert "--any-plan" in line
    assert call("apply", plan, "--quarantine", plan.parent / "q", "--execute", "--any-plan") == 0
    assert files_below(photos) == {"keep.jpg", "other.jpg", "unseen.jpg"}


def test_facts_of_another_file_do_not_move_a_file_that_no_run_saw(plan, photos, capsys):
    """The attack: a row for any file whose digest one knows."""
    unseen = row(photos / "unseen.jpg", photos / "keep.jpg")
    stolen = replace(unseen, run=read_plan(plan)[0].run)
    write_plan(open_store(str(plan.parent)), plan.name, [*read_plan(plan), stolen])
    assert "did not see" in refuse(plan, photos, capsys)


@pytest.mark.parametrize("format", ["csv", "json"])
def test_a_plan_may_be_edited_by_hand(format, rows, photos, tmp_path):
    plan = write(tmp_path / "out", [*rows, row(photos / "unseen.jpg", photos / "other.jpg")], f"plan.{format}")
    if format == "csv":
        edit(plan, lambda line: "drop.jpg" not in line["filename"])  # a row less
        edit(plan, lambda line: line.update({"action": line["action"].upper(), "notes": "mine"}), quoting=csv.QUOTE_ALL)
        plan.write_text(plan.read_text(), encoding="utf-8-sig")
    else:
        content = json.loads(plan.read_text())
        del content["pictures"][1]
        plan.write_text(json.dumps(content))
    assert [Path(move.source).name for move in apply_plan(plan, tmp_path / "q").moved] == ["unseen.jpg"]


def test_keep_may_become_drop_and_drop_keep(plan, photos, tmp_path):
    turned = {"keep": "drop", "drop": "keep"}

    def turn(line):
        if "other" not in line["filename"]:
            line["action"] = turned[line["action"]]
            line["keeper"] = "" if line["keeper"] else str(photos / "drop.jpg")

    edit(plan, turn, delimiter=";", lineterminator="\r\n")
    assert [Path(move.source).name for move in apply_plan(plan, tmp_path / "q").moved] == ["keep.jpg"]


def test_the_run_is_found_beside_the_plan_or_named(plan, photos, tmp_path, capsys):
    elsewhere = Path(shutil.copy(plan, tmp_path / "my plan.csv"))
    assert "--work-dir" in refuse(elsewhere, photos, capsys)
    for work_dir in (plan.parent, str(plan.parent)):
        assert len(apply_plan(elsewhere, tmp_path / "q", work_dir=work_dir).moved) == 1
    write(tmp_path / "other", [row(photos / "other.jpg")])
    assert "another run" in refuse(elsewhere, photos, capsys, "--work-dir", tmp_path / "other")
    assert len(apply_plan(elsewhere, tmp_path / "q", any_plan=True).moved) == 1


@pytest.mark.parametrize("damage", ["images.parquet", "summary.json", "features.dat.csv"])
def test_a_damaged_run_moves_nothing(damage, plan, photos, capsys):
    path = plan.parent / damage
    path.write_bytes(path.read_bytes()[:-20])
    refuse(plan, photos, capsys)


def test_any_plan_compares_each_file_with_its_row_all_the_same(plan, photos, tmp_path):
    edit(plan, other_bytes)
    applied = apply_plan(plan, tmp_path / "q", execute=True, any_plan=True)
    assert (len(applied.moved), len(applied.refused)) == (0, 1)
    edit(plan, lambda line: line.update(sha256=""))
    applied = apply_plan(plan, tmp_path / "q", execute=True, any_plan=True)
    assert (len(applied.moved), len(applied.refused)) == (0, 1)


def test_names_that_are_not_utf_8_are_told_apart_by_their_bytes(photos, tmp_path, capsys):
    names = [f"{photos}/\udcff.jpg", f"{photos}/\udcfe.jpg"]
    for name, path in zip(names, ("keep.jpg", "drop.jpg"), strict=True):
        (photos / path).rename(name)
    plan = write(tmp_path / "out", [row(names[0]), row(names[1], names[0])])
    assert [move.source for move in apply_plan(plan, tmp_path / "q").moved] == [names[1]]
    swapped = [replace(read_plan(plan)[0], filename=names[1])]
    write_plan(open_store(str(plan.parent)), plan.name, swapped)
    refuse(plan, photos, capsys)


# Real runs


@pytest.fixture
def images(tmp_path) -> Path:
    folder = tmp_path / "images"
    folder.mkdir()
    for name, seed in (("a", 1), ("b", 1), ("c", 2), ("d", 2)):
        (folder / f"{name}.png").write_bytes(encode(cloudy(seed), "PNG"))
    return folder


@pytest.fixture
def out(images, tmp_path) -> Path:
    run_inline(images, tmp_path / "out")
    make_plan(tmp_path / "out")
    return tmp_path / "out"


def test_a_plan_holds_after_the_same_run_again_and_not_after_another_one(images, out, tmp_path, capsys):
    plan = out / "plan.csv"
    run_inline(images, out)
    assert len(apply_plan(plan, tmp_path / "q").moved) == 2
    (images / "b.png").write_bytes(encode(cloudy(3), "PNG"))
    run_inline(images, out)
    assert "another run" in refuse(plan, images, capsys)
    for use in (lambda **options: export(out, "drop-list", **options), build_clean(plan, tmp_path / "clean")):
        with pytest.raises(InputError, match="another run"):
            use()
        use(any_plan=True)
    assert not (tmp_path / "clean").exists()
    make_plan(out, overwrite=True)
    assert [Path(move.source).name for move in apply_plan(plan, tmp_path / "q").moved] == ["d.png"]


def build_clean(plan: Path, folder: Path) -> Callable[..., object]:
    return lambda **options: build_dataset(plan, folder, "hard", **options)


def test_the_server_takes_over_what_holds_of_a_plan_of_an_earlier_run(images, out):
    """b is another image by now: its row, which drops it as a copy of a, must not become one of this run."""
    (images / "b.png").write_bytes(encode(cloudy(3), "PNG"))
    run_inline(images, out)
    served = ReportService(out)
    tag, file = served.read_plan()
    held = json.load(file)["pictures"]
    assert [Path(picture["filename"]).name for picture in held] == ["a.png", "c.png", "d.png"]
    assert served.count_left_out() == 1
    file.seek(0)
    assert served.save_plan(file, tag) == served.read_plan().tag
    check_provenance(read_plan(out / "plan.csv"), "the plan", open_store(str(out)))


def test_rows_whose_keeper_changed_are_not_taken_over(rows):
    facts = {
        "size": [row.size for row in rows],
        "sha256": ["00" * 32, *(row.sha256 for row in rows[1:])],
        "mtime_or_etag": ["1"] * len(rows),
    }
    seen = SeenImages("ab" * 32, encode_names(row.filename for row in rows), pa.table(facts))
    assert list(carry_over(Plan(rows), seen)) == [replace(rows[2], run=seen.digest)]


def test_a_plan_of_the_page_of_a_scoring_is_of_the_scoring(images, out, tmp_path):
    (tmp_path / "new").mkdir()
    new = tmp_path / "new/e.png"
    shutil.copy(images / "a.png", new)
    run_inline(tmp_path / "new", out, run_mode=3)
    store = open_store(str(out))
    digest = digest_images(store, SCORED)
    assert digest in store.fetch(SCORED.name(layout.REPORT)).read_text()
    rows = [replace(made, run=digest) for made in (row(images / "a.png"), row(new, images / "a.png"))]
    (tmp_path / "plan.json").write_text(plan_to_json(rows))
    assert len(apply_plan(tmp_path / "plan.json", tmp_path / "q", work_dir=out).moved) == 1
    assert len(apply_plan(out / "plan.csv", tmp_path / "q").moved) == 2  # of the indexed images, as before


@pytest.mark.slow
def test_a_plan_in_a_bucket_belongs_to_its_run(bucket: Bucket, capsys):
    for name, seed in (("a.png", 1), ("b.png", 1)):
        bucket.put(name, encode(cloudy(seed), "PNG"))
    run_inline(bucket.pictures, bucket.work_dir)
    plan, quarantine = make_plan(bucket.work_dir).path, bucket.work_dir + "-quarantine"
    assert len(apply_plan(plan, quarantine).moved) == 1
    bucket.put("c.png", encode(cloudy(2), "PNG"))
    run_inline(bucket.pictures, bucket.work_dir)
    assert call("apply", plan, "--quarantine", quarantine, "--execute") == 1
    assert "another run" in capsys.readouterr().err
    assert len(apply_plan(plan, quarantine, any_plan=True).moved) == 1
