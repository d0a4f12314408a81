"""How many images are duplicates: the same numbers at the end of a run, in its outputs, on the page and in a plan."""

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from fastdup_ray import RunResult, make_plan
from fastdup_ray.outputs.duplicate_counts import DuplicateCounts
from tests.helpers.commands import call
from tests.helpers.images import cloudy, save_cloudy
from tests.helpers.related import save_related
from tests.helpers.runs import PHOTOS, run_inline


def found(result: RunResult) -> DuplicateCounts:
    counts = DuplicateCounts.of(result.counts)
    assert counts
    return counts


def assert_is_planned(work_dir: Path, counts: DuplicateCounts) -> None:
    plan = make_plan(work_dir, overwrite=True)
    assert (plan.dropped, plan.dropped_bytes) == (counts.safe_to_drop, counts.safe_bytes)
    assert plan.found == counts


@pytest.fixture(scope="module")
def related(tmp_path_factory) -> Path:
    """The work_dir of a run on two pages that differ in a digit and a photo, each with others made of it."""
    folder = tmp_path_factory.mktemp("related")
    save_related(folder / "in")
    run_inline(folder / "in", folder / "out", verify="all", report=False)
    return folder / "out"


def test_what_is_the_same_is_safe_to_drop_and_what_was_changed_is_not(related):
    counts = found(RunResult.open(related))
    assert counts.images == 8
    assert (counts.duplicates, counts.safe_to_drop, counts.to_review) == (6, 3, 3)
    assert_is_planned(related, counts)


def draw_text(seed: int) -> Image.Image:
    """A page full of words that no other seed has."""
    image, rng = Image.new("RGB", (620, 877), "white"), np.random.default_rng(seed)
    for top in range(50, 798, 22):
        words = "".join(rng.choice([*"aeinorst    "], 60))
        ImageDraw.Draw(image).text((50, top), words, fill="black", font=ImageFont.load_default(14))
    return image


def test_pairs_that_are_different_do_not_count(tmp_path):
    (tmp_path / "in").mkdir()
    for seed in range(2):
        draw_text(seed).save(tmp_path / f"in/{seed}.png")
    by_verify = {
        verify: run_inline(tmp_path / "in", tmp_path / "out", verify=verify, report=False, ccthreshold=0.5)
        for verify in ("off", "all")
    }
    assert by_verify["all"].summary["verified"] == {"different": 1}
    assert [result.counts["components"] for result in by_verify.values()] == [1, 1]
    assert [found(result).to_review for result in by_verify.values()] == [1, 0]


@pytest.mark.parametrize("parameters", [{"run_cc": 0}, {"verify": "off"}, {"verify": "off", "ccthreshold": 0.9999}])
def test_the_numbers_are_those_of_the_plan_whatever_the_parameters_are(finished, tmp_path, parameters):
    out = Path(shutil.copytree(finished, tmp_path / "out"))
    counts = found(run_inline(PHOTOS, out, report=False, **parameters))
    assert 0 < counts.safe_to_drop <= counts.duplicates < counts.images == 33
    if "run_cc" in parameters:
        assert counts == found(RunResult.open(finished))
    assert_is_planned(out, counts)


def test_references_and_members_of_archives_need_a_person(tmp_path):
    kept, photos = save_cloudy(tmp_path / "kept", 2), tmp_path / "photos"
    photos.mkdir()
    for name in ("a.jpg", "b.jpg"):
        shutil.copy(kept[0], photos / name)
    shutil.copy(kept[1], tmp_path / "kept" / "copy.jpg")
    shutil.make_archive(str(photos / "more"), "zip", tmp_path / "kept", "0000.jpg")
    inputs = [str(tmp_path / "kept"), str(photos)]
    result = run_inline(inputs, tmp_path / "out", reference=[str(tmp_path / "kept")], report=False)
    counts = found(result)
    # The member of the archive and one of the two references cannot be dropped.
    assert (counts.images, counts.duplicates, counts.safe_to_drop) == (6, 4, 2)
    assert_is_planned(tmp_path / "out", counts)


def test_page_and_summary_say_the_same(finished):
    counts = found(RunResult.open(finished))
    page = (finished / "report/index.html").read_text()
    said = " ".join(re.search(r"<h1>(.*?)</h1>\s*<p class=\"answer\">(.*?)</p>", page).groups())
    assert said == counts.text()


def test_run_and_plan_print_the_same_sentence(tmp_path, capsys):
    save_related(tmp_path / "in")
    out = tmp_path / "out"
    assert call("run", tmp_path / "in", "--work-dir", out, "--executor", "inline", "--no-report") == 0
    told = capsys.readouterr().out.splitlines()
    sentence = found(RunResult.open(out)).text()
    assert sentence in told
    assert call("plan", out) == 0
    assert capsys.readouterr().out.startswith(f"{sentence.removesuffix('.')}: fastdup-ray serve {out}\n")
    assert call("plan", out, "--threshold", "1", "--overwrite") == 0
    first, second, *_ = capsys.readouterr().out.splitlines()
    assert first.startswith(sentence.removesuffix("."))
    assert second == "This plan drops 0 images, as asked by --threshold 1."


def test_one_image_has_no_duplicates(tmp_path, capsys):
    cloudy(1).save(tmp_path / "a.png")
    assert call("run", tmp_path / "a.png", "--work-dir", tmp_path / "out", "--executor", "inline", "--no-report") == 0
    told = capsys.readouterr().out
    assert "No duplicates found." in told
    assert "Next: " not in told
