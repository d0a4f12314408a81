"""Relations of verified pairs in a browser: badges, the filter, confirmed pairs, suggestions, and the viewer."""

import os
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from selenium.webdriver import Keys

from fastdup_ray import make_plan
from fastdup_ray.analysis.verified_pairs import BOX, MATRIX
from fastdup_ray.common import layout
from fastdup_ray.common.relations import Relation
from fastdup_ray.curation.plan_file import read_plan
from fastdup_ray.report.page import write_report
from fastdup_ray.storage import Store, open_store
from fastdup_ray.storage.checked_json import read_json
from tests.helpers.pages import write_finished, write_verified
from tests.helpers.related import PART, save_related
from tests.helpers.runs import run_inline

LEAST_CONTRAST = 4.5
"""WCAG 2.2, level AA."""


@pytest.fixture(scope="module")
def related(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A run that has looked at its pairs: two groups above the threshold, and a part of a photo below it."""
    folder = tmp_path_factory.mktemp("related")
    save_related(folder / "photos")
    run_inline(folder / "photos", folder / "out", threshold=0.85, verify="all")
    return open_store(str(folder / "out"))


@pytest.fixture
def shown(browser, related):
    browser.open(related.fetch(layout.REPORT))
    return browser


def badges(shown) -> list[dict[str, str]]:
    """Name of the image -> its badge, of each card that is shown."""
    return shown.js("""
        const read = (figure) => [figure.querySelector(".name").textContent, figure.querySelector("[data-relation]")];
        return [...document.querySelectorAll(".card")].map((card) => Object.fromEntries(
            [...card.querySelectorAll("figure")].map(read).map(([name, badge]) => [name, badge?.innerText ?? ""])));
    """)


def compare(shown, name: str) -> None:
    """Open the viewer with the keeper on the left and this image on the right."""
    shown.press(shown.button(f"Compare {name}"))
    shown.until(
        lambda: all(shown.js("return [...document.querySelectorAll('.stage img')].map((image) => image.complete)"))
    )


def places(shown, selector: str) -> list[list[float]]:
    """Left, top, width and height of elements, in parts of the sheet that they are in."""
    return shown.js(
        """return [...document.querySelectorAll(arguments[0])].map((element) => {
            const [own, sheet] = [element, element.closest(".sheet")].map((found) => found.getBoundingClientRect());
            return [(own.left - sheet.left) / sheet.width, (own.top - sheet.top) / sheet.height,
                own.width / sheet.width, own.height / sheet.height];
        })""",
        selector,
    )


def test_each_image_of_a_group_has_its_relation_to_the_keeper(shown):
    pages, photos = badges(shown)
    assert pages == {"a.png": "", "b.png": "altered", "small-a.jpg": "same", "small-b.jpg": "altered"}
    assert photos == {"whole.png": "", "small.jpg": "same"}
    titles = shown.js("return [...document.querySelectorAll('[data-relation]')].map((badge) => badge.title)")
    assert re.fullmatch(r"something was put in or taken out; 0\.\d+ % of the area differs", titles[0])
    assert titles[1] == "nothing differs but size, compression and overall tone"
    shown.tab("Pairs")
    relations = shown.texts(".card h3 [data-relation]")
    assert len(relations) == len(shown.all(".card"))
    assert {"same", "altered", "mirrored"} <= set(relations) <= {*Relation}


def test_a_part_says_how_much_of_the_other_it_shows(shown):
    shown.one("#confirmed").click()
    badge = shown.js("return [...document.querySelectorAll('[data-relation=cropped]')].map((found) => found.title)")
    left, top, right, bottom = PART
    share = round(100 * (right - left) * (bottom - top))
    assert re.fullmatch(r".*; shows (\d+) % of the other", badge[0])
    assert abs(int(re.search(r"(\d+) %", badge[0])[1]) - share) <= 1


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_badges_are_readable(shown, scheme):
    shown.media(prefers_color_scheme=scheme)
    shown.one("#confirmed").click()
    pairs = shown.js(
        """
        const colors = (element) => { const style = getComputedStyle(element);
            return [style.color, style.backgroundColor]; };
        const badges = arguments[0].map((relation) => {
            const badge = document.createElement("span");
            Object.assign(badge, { className: "badge", textContent: relation });
            badge.dataset.relation = relation;
            document.querySelector(".card").append(badge);
            return badge;
        });
        return badges.map(colors);
    """,
        [*Relation],
    )

    def luminance(color: str) -> float:
        parts = [int(part) / 255 for part in re.findall(r"\d+", color)[:3]]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    for ink, paper in pairs:
        high, low = sorted([luminance(ink), luminance(paper)], reverse=True)
        assert (high + 0.05) / (low + 0.05) >= LEAST_CONTRAST


def test_a_report_without_verified_pairs_has_nothing_of_it(opened):
    for tab in opened.all("[role=tab]"):
        opened.js("arguments[0].click()", tab)
        assert not opened.all("[data-relation], #relation, #confirmed")
    opened.tab("Groups")
    assert any("similar, but not verified" in text for text in opened.texts(".suggestion"))
    opened.keys("n", Keys.ENTER)
    assert not opened.all(".viewer .align")
    opened.keys(Keys.ESCAPE)


def choose(shown, relation: str) -> None:
    shown.js(
        "const box = document.getElementById('relation'); box.value = arguments[0];"
        "box.dispatchEvent(new Event('change'))",
        relation,
    )


def options(shown) -> list[str]:
    return shown.js("return [...document.querySelectorAll('#relation option')].map((option) => option.textContent)")


def test_lists_are_filtered_by_relation(shown):
    assert options(shown) == ["any", "same (2 groups)", "altered (1 group)"]
    choose(shown, "altered")
    assert [list(card) for card in badges(shown)] == [["a.png", "b.png", "small-a.jpg", "small-b.jpg"]]
    assert shown.text(".match-count") == "1 of 2 shown"
    shown.tab("Pairs")  # the choice stays
    assert set(shown.texts(".card h3 [data-relation]")) == {"altered"}
    assert f"altered ({len(shown.all('.card'))} pairs)" in options(shown)
    choose(shown, "mirrored")
    assert set(shown.texts(".card h3 [data-relation]")) == {"mirrored"}
    shown.tab("Groups")
    assert "No groups match." in shown.text("#list")
    choose(shown, "")
    assert len(shown.all(".card")) == 2


def test_confirmed_pairs_count_in_groups_when_asked(shown):
    switch = shown.one("#confirmed")
    assert not switch.is_selected()
    tabs = shown.texts("[role=tab]")
    switch.click()
    _, photos = badges(shown)
    assert photos == {"whole.png": "", "small.jpg": "same", "mirrored.jpg": "mirrored", "part.jpg": "cropped"}
    assert options(shown) == [
        *("any", "same (2 groups)", "cropped (1 group)", "mirrored (1 group)", "altered (1 group)")
    ]
    assert "groups" in shown.text("#tiles")
    shown.tab("Pairs")
    before = len(shown.all(".card"))
    assert "cropped" in shown.texts(".card h3 [data-relation]")
    switch.click()
    assert len(shown.all(".card")) < before
    assert shown.texts("[role=tab]") == tabs
    shown.tab("Groups")
    assert [len(card) for card in badges(shown)] == [4, 2]


@pytest.mark.parametrize("asked", [False, True])
def test_what_is_suggested_is_what_plan_drops(shown, related, asked):
    if asked:
        shown.one("#confirmed").click()
    for _ in range(2):
        shown.keys("n", "a")
    rows = {row.filename: row for row in read_plan(shown.download("Download plan"))}
    plan = {row.filename: row for row in make_plan(related.location, overwrite=True).rows}
    dropped = {name for name, row in plan.items() if row.is_dropped}
    assert {Path(name).name for name in dropped} == {"small-a.jpg", "small-b.jpg", "small.jpg"}
    assert {name for name, row in rows.items() if row.is_dropped} == dropped
    assert {name: rows[name] for name in plan} == plan
    assert [heading.splitlines()[-1] for heading in shown.texts(".card h3")] == ["2 to drop", "1 to drop"]


def test_each_image_says_whether_it_is_suggested_to_be_dropped_and_why_not(shown):
    shown.one("#confirmed").click()
    lines = shown.js("""
        const read = (figure) => [figure.querySelector(".name").textContent, figure.querySelector(".suggestion")];
        return Object.fromEntries([...document.querySelectorAll("figure.image")].map(read)
            .map(([name, line]) => [name, line?.innerText ?? ""]));
    """)
    assert lines == {
        "a.png": "",
        "b.png": "",  # the keeper of small-b.jpg
        "small-a.jpg": "Suggested to drop",
        "small-b.jpg": "Suggested to drop: duplicate of b.png",
        "whole.png": "",
        "small.jpg": "Suggested to drop",
        "mirrored.jpg": "Not suggested to drop: mirrored",
        "part.jpg": "Not suggested to drop: cropped",
    }
    assert ["2 suggested to drop" in text for text in shown.texts(".card h3")] == [True, False]


def test_the_place_that_differs_is_outlined_on_both_images(shown):
    """The fourth digit of line 20, of a page with 620 by 877 pixels."""
    compare(shown, "b.png")
    assert shown.text(".viewer .relations") == "altered"
    boxes = places(shown, ".outline")
    assert len(boxes) == 2
    for left, top, width, height in boxes:
        assert 95 / 620 < left < left + width < 135 / 620
        assert 485 / 877 < top < top + height < 515 / 877
    compared = shown.text(".compared")
    assert re.search(r"altered: something was put in or taken out; 0\.\d+ % of the area differs", compared)
    shown.keys("f")
    assert len(places(shown, ".outline")) == 1
    shown.keys("s", Keys.ARROW_RIGHT)
    assert not shown.all(".outline")
    shown.keys(Keys.ESCAPE)


def test_a_part_lies_at_its_place_in_the_whole(shown):
    shown.one("#confirmed").click()
    compare(shown, "part.jpg")
    left, top, right, bottom = PART
    expected = [left, top, right - left, bottom - top]
    whole, part = places(shown, ".stage img")
    assert whole == pytest.approx([0, 0, 1, 1], abs=1e-3)
    assert part == pytest.approx(expected, abs=0.01)
    shown.keys("b")
    assert places(shown, ".stage img")[1] == pytest.approx(expected, abs=0.01)
    shown.keys("s", "t")
    assert shown.button("Align").get_attribute("aria-pressed") == "false"
    assert places(shown, ".stage img")[1] == pytest.approx([0, 0, 1, 1], abs=1e-3)
    shown.keys("t", Keys.ESCAPE)


@pytest.mark.parametrize("name", ["part.jpg", "mirrored.jpg"])
def test_the_difference_of_aligned_images_is_dark(shown, tmp_path, name):
    def measure() -> float:
        shown.one(".layers").screenshot(str(tmp_path / "stage.png"))
        with Image.open(tmp_path / "stage.png") as image:
            gray = image.convert("L")
            histogram = gray.crop((9, 9, gray.width - 9, gray.height - 9)).histogram()
        return sum(level * count for level, count in enumerate(histogram)) / sum(histogram)

    shown.one("#confirmed").click()
    compare(shown, name)
    shown.keys("f")
    shown.click("Brightness of differences: ×4", ".viewer")
    aligned = measure()
    shown.keys("t")
    assert measure() > 3 * aligned
    shown.click("Brightness of differences: Auto", ".viewer")
    shown.keys("t", Keys.ESCAPE)


LEFT, TOP, RIGHT, BOTTOM = PART
ACROSS, DOWN = RIGHT - LEFT, BOTTOM - TOP
PART_TO_WHOLE = (ACROSS, 0.0, LEFT, 0.0, DOWN, TOP)
WHOLE_TO_PART = (1 / ACROSS, 0.0, -LEFT / ACROSS, 0.0, 1 / DOWN, -TOP / DOWN)


@pytest.mark.parametrize(
    "verdict",
    [
        {
            "from": 0,
            "to": 1,
            "cover_from": 0.48,
            "cover_to": 1.0,
            "matrix": PART_TO_WHOLE,
            "box": (0.5, 0.6, 0.56, 0.68),
        },
        {"from": 1, "to": 0, "cover_from": 1.0, "cover_to": 0.48, "matrix": WHOLE_TO_PART, "box": (0.5, 0.5, 0.6, 0.6)},
    ],
)
def test_a_verdict_is_read_in_either_direction(browser, tmp_path, verdict):
    save_related(tmp_path / "photos")
    paths = [str(tmp_path / "photos" / name) for name in ("whole.png", "part.jpg")]
    sizes = {
        "width": [480, 288],
        "height": [320, 256],
        "mtime_or_etag": [str(os.stat(path).st_mtime_ns) for path in paths],
    }
    store = write_finished(tmp_path / "out", paths, component=[0, 0], **sizes)
    places_of = dict(zip(MATRIX, verdict["matrix"], strict=True)) | dict(zip(BOX, verdict["box"], strict=True))
    ends = {name: verdict[name] for name in ("from", "to", "cover_from", "cover_to")}
    write_verified(store, [ends | places_of | {"relation": "cropped", "difference": 0.001}])
    write_report(store, read_json(store, layout.SUMMARY))
    browser.open(store.fetch(layout.REPORT))
    (title,) = browser.js("return [...document.querySelectorAll('figure [data-relation]')].map((badge) => badge.title)")
    assert "shows 48 % of the other; 0.1 % of what both show differs" in title
    compare(browser, "part.jpg")
    assert places(browser, ".stage img")[1] == pytest.approx([LEFT, TOP, ACROSS, DOWN], abs=0.01)
    assert places(browser, ".outline") == pytest.approx(np.array([[0.5, 0.6, 0.06, 0.08]] * 2), abs=0.01)
    browser.keys("t")  # each image fills its own sheet, and so the part has the place where it has it
    assert places(browser, ".outline") == pytest.approx(
        np.array([[0.5, 0.6, 0.06, 0.08], [0.5, 0.5, 0.1, 0.1]]), abs=0.01
    )
    browser.keys("t", Keys.ESCAPE)


def test_there_is_nothing_to_align_where_images_have_the_same_frame(shown):
    compare(shown, "small.jpg")
    assert not shown.button("Align").is_enabled()
    assert shown.button("Align").get_attribute("aria-pressed") == "false"
    shown.keys("t")
    assert places(shown, ".stage img") == [[0, 0, 1, 1]] * 2
    shown.keys(Keys.ESCAPE)


@pytest.mark.parametrize("width", [400, 1400])
def test_it_fits_its_window(shown, width):
    shown.size(width, 900)
    shown.js("document.getElementById('confirmed').click()")
    assert shown.js("return document.documentElement.scrollWidth") <= width
    shown.js("document.querySelector('.card .compare').click()")
    assert shown.js("return document.querySelector('.viewer').scrollWidth") <= width
    shown.keys(Keys.ESCAPE)


def test_an_image_may_repeat_one_that_is_in_no_group(browser, tmp_path):
    """The first of a group is dropped for a larger one, which is not similar enough to be on the card."""
    paths = [str(tmp_path / f"{name}.jpg") for name in ("larger", "first", "other")]
    store = write_finished(tmp_path / "out", paths, component=[0, 1, 1], size=[300, 200, 100])
    write_verified(
        store,
        [
            {"from": 0, "to": 1, "relation": "same", "similarity": 0.7},
            {"from": 1, "to": 2, "relation": "altered", "similarity": 0.97},
        ],
    )
    write_report(store, read_json(store, layout.SUMMARY), thumbnails=False)
    browser.open(store.fetch(layout.REPORT))
    assert "First of this group" in browser.text(".card")
    assert browser.texts(".suggestion") == ["Suggested to drop: duplicate of larger.jpg"]
    browser.keys("n", "a")
    rows = {Path(row.filename).stem: row for row in read_plan(browser.download("Download plan.json"))}
    assert {name: row.action for name, row in rows.items()} == {"larger": "keep", "first": "drop", "other": "keep"}
    assert rows["first"].keeper == paths[0]


def test_accepting_all_says_what_is_safe_besides_the_groups_that_are_shown(browser, tmp_path):
    save_related(tmp_path / "photos")
    result = run_inline(tmp_path / "photos", tmp_path / "out", threshold=0.85, ccthreshold=0.999, verify="all")
    browser.open(result.report)
    browser.one("#accept-all").click()
    dropped = len(browser.all("figure[data-action=drop]"))
    hidden = result.counts["safe_to_drop"] - dropped
    assert hidden > 0
    assert f"Not shown: up to {hidden} image" in browser.text("#message")
    browser.one("#confirmed").click()
    browser.one("#accept-all").click()
    assert "Not shown" not in browser.text("#message")
    assert len(browser.all("figure[data-action=drop]")) == result.counts["safe_to_drop"]
