"""Images with an issue that is seen without another image."""

from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import numpy as np
import pytest

from fastdup_ray.common import layout, mapped_arrays
from fastdup_ray.report.image_issues import _compute_quartiles
from fastdup_ray.report.page import write_report
from fastdup_ray.storage.checked_json import read_json
from tests.helpers.pages import Made, write_finished

USUAL = {"brightness": 120.0, "contrast": 50.0, "blur": 900.0, "width": 640, "height": 480}


def find_issues(folder: Path, *images: dict[str, Any], usual: int = 12) -> dict[str, list[int]]:
    """Make a page of these images, after some usual ones. Returns the images with each issue, by their place."""
    rows = [USUAL | image for image in [{}] * usual + list(images)]
    columns = {name: [row[name] for row in rows] for name in USUAL}
    paths = [str(folder / f"{row}.jpg") for row in range(len(rows))]
    store = write_finished(folder / "out", paths, component=list(range(len(rows))), **columns)
    write_report(store, read_json(store, layout.SUMMARY), thumbnails=False)
    made = Made(store.fetch(layout.REPORT))
    indices = made.data["pictures"]["row"]
    kinds = made.lists["issues"]["kinds"]
    assert made.lists["issues"]["total"] == sum(kind["total"] for kind in kinds)
    found = {kind["id"]: [indices[number] - usual for number, _ in kind["items"]] for kind in kinds}
    return {kind: places for kind, places in found.items() if places}


@pytest.mark.parametrize(
    ("kind", "image"),
    [
        ("dark", {"brightness": 20.0, "contrast": 10.0}),
        ("bright", {"brightness": 250.0, "contrast": 8.0}),
        ("blurred", {"blur": 3.0}),
        ("blank", {"contrast": 1.0}),
        ("size", {"width": 4000, "height": 3000}),
        ("size", {"width": 64, "height": 48}),
        ("shape", {"width": 1200, "height": 300}),
        ("shape", {"width": 300, "height": 1200}),
    ],
)
def test_each_issue_is_found_and_no_other(tmp_path, kind, image):
    assert find_issues(tmp_path, image) == {kind: [0]}


def test_usual_images_have_no_issue(tmp_path):
    page = {"brightness": 245.0, "contrast": 45.0}  # text on white paper
    assert find_issues(tmp_path, page, {"width": 700, "height": 500}, {"brightness": 60.0}) == {}


def test_the_worst_comes_first(tmp_path):
    assert find_issues(tmp_path, {"blur": 40.0}, {"blur": 1.0}, {"blur": 20.0}) == {"blurred": [1, 2, 0]}


def test_images_without_statistics_have_none_of_their_issues(tmp_path):
    unknown = dict.fromkeys(("brightness", "contrast", "blur"), float("nan"))
    assert find_issues(tmp_path, unknown, usual=0) == {}


@pytest.mark.parametrize("count", [1, 2, 7, 100])
def test_quartiles_of_values_in_a_file_are_those_of_values_in_memory(monkeypatch, count):
    monkeypatch.setattr(mapped_arrays, "ARRAY_IN_MEMORY", 8)
    values = np.random.default_rng(count).random(count)
    found = _compute_quartiles(np.split(values, range(3, count, 3)), count + 5, TemporaryFile)
    assert found.tolist() == np.percentile(values, [25, 50, 75]).tolist()
    assert not len(_compute_quartiles([], count, TemporaryFile))
