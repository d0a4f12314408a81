"""The review of many groups in a browser: keys, all suggestions at once, rules for keepers, filters, and messages."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from selenium.webdriver import Keys

from fastdup_ray import make_plan
from fastdup_ray.common import layout
from fastdup_ray.curation.plan_file import read_plan
from fastdup_ray.report.page import write_report
from fastdup_ray.storage import Store
from fastdup_ray.storage.checked_json import read_json
from tests.browser.chromium import Browser
from tests.helpers.pages import write_finished, write_verified

pytestmark = pytest.mark.alone

MINUTE = 60_000_000_000


def choose(browser: Browser, field: str, value: str) -> None:
    """Choose an option, or type a text, as a user does."""
    browser.js(
        "const field = document.getElementById(arguments[0]); field.value = arguments[1];"
        "field.dispatchEvent(new Event('change'))",
        field,
        value,
    )


def decide_all(browser: Browser) -> dict[str, str]:
    """Accept all suggestions that are shown. Returns the action of each image, by the stem of its name."""
    browser.click("Accept suggestions for all shown")
    return {Path(row.filename).stem: row.action for row in read_plan(browser.download("Download plan.json"))}


def list_states(browser: Browser) -> list[str]:
    return browser.js("return [...document.querySelectorAll('.card .state')].map((state) => state.innerText)")


WITH_FIRST, ALL = {1: (0,), 2: (0,)}, {1: (0,), 2: (0, 1)}
"""Place of an image in its group -> the places of those that it was verified to be the same as."""


def make_page(folder: Path, n: int = 6, *, verified: Mapping[int, Sequence[int]] = ALL, **columns) -> Path:
    """A page with groups of three: the first is the largest, the second the oldest, the third is in another folder."""
    place = [("a", "b", "c")[row % 3] for row in range(n)]
    paths = [
        str(folder / ("new" if name == "c" else "old") / f"{name}{row // 3}.jpg") for row, name in enumerate(place)
    ]
    facts = {
        "size": [{"a": 900, "b": 500, "c": 700}[name] for name in place],
        "width": [{"a": 90, "b": 50, "c": 40}[name] for name in place],
        "mtime_or_etag": [str(1_700_000_000_000_000_000 + MINUTE * "bac".index(name)) for name in place],
    }
    component = [row // 3 for row in range(n)]
    store = write_finished(folder / "out", paths, component=component, **facts | columns)
    ends = [(row - row % 3 + other, row) for row in range(n) for other in verified.get(row % 3, ())]
    write_verified(store, [{"from": one, "to": other, "relation": "same"} for one, other in ends])
    return write_page(store)


def write_page(store: Store) -> Path:
    write_report(store, read_json(store, layout.SUMMARY), thumbnails=False)
    return store.fetch(layout.REPORT)


def test_keys_set_decisions_and_do_not_toggle(opened):
    opened.keys("n", Keys.ARROW_RIGHT, Keys.ARROW_RIGHT)
    chosen = "return document.activeElement.closest('[data-member]').dataset"
    first = opened.js(chosen)["member"]
    for _ in range(2):
        opened.keys("d")
        assert opened.js(chosen)["action"] == "drop"
    assert list_states(opened)[0] == "1 to drop"
    opened.keys("k")
    assert opened.js(chosen)["action"] == "keep"
    opened.keys("u")
    assert opened.js(chosen) == {"member": first, "action": ""}
    assert list_states(opened)[0] == ""
    opened.keys("1", "1")  # the first image of the group
    assert list_states(opened)[0] == "1 to drop"
    opened.keys(Keys.ARROW_LEFT, Keys.ARROW_LEFT, Keys.ARROW_LEFT)  # the first is the end
    assert opened.js("return document.activeElement.closest('[data-member]').dataset.action") == "drop"
    outline = opened.js("return getComputedStyle(document.activeElement).outlineStyle")
    assert outline != "none"


def test_the_buttons_of_an_image_clear_its_decision_when_pressed_again(opened):
    card = opened.all(".card")[0]
    drop = card.find_elements("css selector", ".drop")[1]
    opened.press(drop)
    assert drop.get_attribute("aria-pressed") == "true"
    opened.press(drop)
    assert drop.get_attribute("aria-pressed") == "false"


def test_a_key_for_an_image_asks_for_one(opened):
    opened.keys("n", "d")
    assert "arrow keys" in opened.text("#message")
    assert list_states(opened)[0] == ""


def test_a_message_says_what_was_done_and_goes(opened):
    opened.js("""
        const real = window.setTimeout;
        window.setTimeout = (act, delay) => real(act, delay > 5000 ? 300 : delay);
    """)
    opened.keys("n", "4", "3", "2", "1")
    assert opened.text("#message") == "Keep at least one image in each group."
    opened.keys("z")
    assert opened.text("#message").startswith("Undone: drop ")
    assert opened.one("#message").get_attribute("aria-live") == "polite"
    opened.until(lambda: opened.js("return document.getElementById('message').textContent") == "")


def test_all_suggestions_that_are_shown_are_accepted_and_undone(browser, tmp_path):
    browser.open(make_page(tmp_path, 9))
    browser.keys("n", "x")  # decided by the user
    browser.click("Accept suggestions for all shown")
    assert list_states(browser) == ["not duplicates", "2 to drop", "2 to drop"]
    assert browser.text("#message").startswith("Accepted the suggestions for 2 groups: 4 images to drop (")
    assert "1 group decided before: not changed." in browser.text("#message")
    browser.keys("z")
    assert list_states(browser) == ["not duplicates", "", ""]


def test_a_group_that_is_decided_in_part_follows_the_suggestion_for_the_rest(browser, tmp_path):
    browser.open(make_page(tmp_path))
    browser.keys("n", "2")
    assert list_states(browser)[0] == "1 to drop"
    actions = decide_all(browser)
    assert {name for name, action in actions.items() if action == "keep"} == {"a0", "a1"}


def test_there_is_nothing_to_accept_where_nothing_is_suggested(browser, tmp_path):
    browser.open(make_page(tmp_path, 3, verified={}))
    assert not browser.button("Accept suggestion", ".card").is_enabled()
    assert not browser.one("#accept-all").is_enabled()
    browser.keys("n", "a")
    assert browser.text("#message").startswith("There is no suggestion to accept")
    assert list_states(browser) == [""]


def test_groups_without_a_suggestion_stay_undecided(browser, tmp_path):
    paths = [str(tmp_path / f"{row}.jpg") for row in range(4)]
    store = write_finished(tmp_path / "out", paths, component=[0, 0, 1, 1], size=[9, 8, 7, 6])
    write_verified(store, [{"from": 0, "to": 1, "relation": "same"}, {"from": 2, "to": 3, "relation": "altered"}])
    browser.open(write_page(store))
    browser.click("Accept suggestions for all shown")
    assert sorted(list_states(browser)) == ["", "1 to drop"]
    assert "1 group without a suggestion: still undecided." in browser.text("#message")
    browser.click("Accept suggestions for all shown")
    assert browser.text("#message").startswith("There is no suggestion to accept.")


def test_only_what_the_filters_show_is_accepted(browser, tmp_path):
    browser.open(make_page(tmp_path))
    browser.one("#search").send_keys("c1.jpg")
    browser.click("Accept suggestions for all shown")
    browser.click("Reset")
    assert list_states(browser) == ["", "2 to drop"]
    assert not browser.all("#reset")


def test_reset_brings_back_what_the_slider_hid(opened):
    opened.one("#range-from").send_keys(Keys.ARROW_RIGHT)  # the chain goes
    opened.until(lambda: len(opened.all(".card")) == 3)
    opened.click("Reset")
    assert opened.one("#range-from").get_attribute("value") == "0"
    assert len(opened.all(".card")) == 4


def test_an_empty_list_offers_to_clear_the_filters(opened):
    opened.one("#search").send_keys("no such name")
    assert opened.text("#list").startswith("No groups match.")
    assert not opened.all("#accept-all")
    opened.click("Clear filters")
    assert len(opened.all(".card")) == 4
    assert opened.one("#search").get_attribute("value") == ""


def test_filters_stay_in_sight(opened):
    opened.js("scrollTo(0, document.body.scrollHeight)")
    assert opened.js("return document.querySelector('.filters').getBoundingClientRect().top") < 60


RULES = {"largest": "a", "bytes": "a", "oldest": "b", "folder": "c"}
"""Rule -> the image of each group that it keeps."""


def decide_by_rule(browser: Browser, rule: str) -> dict[str, str]:
    choose(browser, "keeper-rule", rule)
    if rule == "folder":
        choose(browser, "keeper-folder", "/new/")
    actions = decide_all(browser)
    browser.js("document.activeElement.blur()")
    browser.keys("z")
    return actions


def test_keepers_follow_a_rule(browser, tmp_path):
    browser.open(make_page(tmp_path))
    for rule, kept in RULES.items():
        actions = decide_by_rule(browser, rule)
        assert {name for name, action in actions.items() if action == "keep"} == {f"{kept}0", f"{kept}1"}, rule


def test_only_what_was_verified_with_the_keeper_goes(browser, tmp_path):
    """b and c were compared with a, and not with each other."""
    browser.open(make_page(tmp_path, verified=WITH_FIRST))
    for rule, kept in RULES.items():
        actions = decide_by_rule(browser, rule)
        dropped = {"b0", "b1", "c0", "c1"} if kept == "a" else {"a0", "a1"}
        assert {name for name, action in actions.items() if action == "drop"} == dropped, rule


def test_undecided_groups_follow_the_rule_and_decisions_stay(browser, tmp_path):
    browser.open(make_page(tmp_path))
    browser.keys("n", "a")
    choose(browser, "keeper-rule", "oldest")
    keepers = browser.js("return [...document.querySelectorAll('.keeper')].map((role) => role.innerText)")
    assert [text.split(":")[0] for text in keepers] == ["Keeper · oldest"] * 2
    assert list_states(browser) == ["2 to drop", ""]
    actions = decide_all(browser)
    assert {name for name, action in actions.items() if action == "keep"} == {"a0", "b1"}
    rows = {Path(row.filename).stem: row for row in read_plan(browser.download("Download plan"))}
    assert rows["b1"].reason.startswith("oldest: 2023-11-14")
    assert Path(rows["a1"].keeper).stem == "b1"


def test_dates_within_two_seconds_are_a_tie(browser, tmp_path):
    start = 1_700_000_000_000_000_000
    times = [str(start + 1_900_000_000), str(start), str(start + MINUTE)]
    browser.open(make_page(tmp_path, 3, mtime_or_etag=times))
    choose(browser, "keeper-rule", "oldest")
    assert decide_all(browser)["a0"] == "keep"  # which has more pixels


SECOND = 1_000_000_000
TIMES = [
    *((1.9, 0, 60), (0, 1.9, 3.5), (1.9, 3.5, 0), (2, 0, 1), (0, 0, 0), (3.9, 2.1, 0.3), (0.5, 5, 4)),
    *((None, 1, None), (None, None, None)),
]
"""Of three images of a group, the first with the most pixels: seconds after the same moment, or no date."""


def test_the_oldest_is_the_one_that_plan_keeps(browser, tmp_path):
    start = 1_700_000_000 * SECOND
    times = ["" if time is None else str(start + int(time * SECOND)) for group in TIMES for time in group]
    page = make_page(tmp_path, 3 * len(TIMES), mtime_or_etag=times)
    browser.open(page)
    choose(browser, "keeper-rule", "oldest")
    decide_all(browser)
    rows = {row.filename: row for row in read_plan(browser.download("Download plan"))}
    plan = make_plan(page.parent.parent, "-", keep="reference,oldest,resolution,bytes").rows
    assert {name: row.keeper for name, row in rows.items()} == {row.filename: row.keeper for row in plan}


def test_the_rule_is_kept_over_a_reload(browser, tmp_path):
    browser.open(make_page(tmp_path))
    choose(browser, "keeper-rule", "folder")
    choose(browser, "keeper-folder", "/new/")
    browser.driver.refresh()
    fields = ("keeper-rule", "keeper-folder")
    assert [browser.one(f"#{field}").get_attribute("value") for field in fields] == ["folder", "/new/"]
    assert {name for name, action in decide_all(browser).items() if action == "keep"} == {"c0", "c1"}


def test_what_is_dropped_for_another_image_is_so_once_a_larger_group_is_shown(browser, tmp_path):
    """b is the same as a, and so is c, which is not similar enough to be in their group at first."""
    paths = [str(tmp_path / f"{name}.jpg") for name in "abc"]
    store = write_finished(tmp_path / "out", paths, component=[0, 0, 1], size=[9, 8, 7])
    write_verified(store, [{"from": 0, "to": other, "relation": "same", "similarity": 0.7} for other in (1, 2)])
    browser.open(write_page(store))
    assert decide_all(browser) == {"a": "keep", "b": "drop"}
    browser.one("#confirmed").click()
    assert decide_all(browser) == {"a": "keep", "b": "drop", "c": "drop"}
    assert browser.text(".totals").startswith("2 images to drop (15 bytes), 1 image to keep")


def test_the_totals_count_keepers_that_are_not_shown(browser, tmp_path):
    paths = [str(tmp_path / f"{name}.jpg") for name in "abc"]
    store = write_finished(tmp_path / "out", paths, component=[0, 1, 1], size=[9, 8, 7])
    write_verified(store, [{"from": 0, "to": other, "relation": "same", "similarity": 0.7} for other in (1, 2)])
    browser.open(write_page(store))
    assert decide_all(browser) == {"a": "keep", "b": "drop", "c": "drop"}
    assert browser.text(".totals").startswith("2 images to drop (15 bytes), 1 image to keep")


def test_an_image_that_is_kept_for_its_sidecar_says_so(browser, tmp_path):
    paths = [tmp_path / f"{name}.jpg" for name in "abc"]
    for path in paths:
        path.write_bytes(b"the same bytes")
    (tmp_path / "b.txt").write_text("a caption")
    store = write_finished(tmp_path / "out", list(map(str, paths)), component=[0, 0, 0])
    browser.open(write_page(store))
    reason = "its keeper has no sidecar like b.txt"
    assert sorted(browser.texts(".suggestion")) == [f"Not suggested to drop: {reason}", "Suggested to drop"]
    assert "1 duplicate is not suggested" in browser.text(".actions-on-list .note")
    assert decide_all(browser) == {"a": "keep", "b": "keep", "c": "drop"}
    browser.press(browser.button("Drop b.jpg"))
    assert reason in browser.text("#message")


def test_the_path_of_an_image_is_copied(opened, odd):
    opened.js("navigator.clipboard.writeText = (text) => ((window.copied = text), Promise.resolve())")
    opened.press(opened.all(".card .copy")[0])
    assert opened.until(lambda: opened.js("return window.copied")) == odd[1][3]
    assert opened.text("#message").startswith("Copied ")


def test_an_outlier_shows_its_nearest_image_when_it_has_the_focus(opened):
    opened.tab("Outliers")
    assert not opened.all(".nearest")
    opened.keys("n")
    assert len(opened.all(".nearest")) == 1
    assert "nearest neighbor" in opened.js("return document.activeElement.getAttribute('aria-label')")
    opened.keys(Keys.ARROW_RIGHT)
    assert len(opened.all(".nearest")) == 1
    opened.keys(Keys.ENTER)
    assert opened.text("#viewer-title") == "Outlier 2 · image 2 of 2"
    opened.keys(Keys.ESCAPE)


def test_a_card_says_only_what_differs(browser, tmp_path):
    browser.open(make_page(tmp_path, 3, width=[90, 90, 40]))
    facts = browser.js("""
        const read = (figure) => figure.querySelector("figcaption > .facts").textContent;
        return [...document.querySelectorAll("figure.image")].map(read);""")
    assert [facts[0], *sorted(facts[1:], reverse=True)] == [
        "90 × 40 · 900 bytes · JPEG · 2023-11-14 22:14",
        "90 × 40 · 500 bytes · 2023-11-14 22:13",
        "40 × 40 · 700 bytes · 2023-11-14 22:15",
    ]


@pytest.mark.parametrize("name", ["short.jpg", "a very long name of an image that has no room at all 0123456789.jpg"])
def test_a_long_name_loses_its_middle(browser, tmp_path, name):
    paths = [str(tmp_path / name), str(tmp_path / "b.jpg")]
    browser.open(write_page(write_finished(tmp_path / "out", paths, component=[0, 0], size=[9, 8])))
    shown = next(found for found in browser.all(".card .name") if found.get_attribute("textContent") == name)
    tail = shown.find_element("css selector", ".tail")
    assert name.endswith(tail.text)
    assert tail.rect["x"] + tail.rect["width"] <= shown.rect["x"] + shown.rect["width"] + 1


def test_one_image_has_no_duplicates_no_lists_and_nothing_to_decide(browser, tmp_path):
    summary = {"counts": {"images": 1, "exact_copies": 0, "near_copies": 0, "bad": 0, "components": 0}}
    browser.open(
        write_page(write_finished(tmp_path / "out", [str(tmp_path / "a.jpg")], component=[0], summary=summary))
    )
    assert browser.text("h1") == "No duplicates found."
    assert not browser.all("[role=tab], #decision-bar button, .tiles button")


@pytest.mark.parametrize("width", [400, 1400])
def test_the_bar_at_the_bottom_is_whole(opened, page, width):
    opened.size(width, 850)
    opened.open(page)
    opened.keys("n", "a")
    opened.click("More actions", "#decision-bar")
    for button in opened.all("#decision-bar button"):
        left, right = button.rect["x"], button.rect["x"] + button.rect["width"]
        assert 0 <= left < right <= width
    opened.keys(Keys.ESCAPE)
    assert not opened.all(".menu-list")
    if width == 400:
        opened.click("Filters")
        assert opened.one("#order").is_displayed()
        assert opened.js("return document.documentElement.scrollWidth") <= width


def test_no_limit_hides_groups(browser, tmp_path):
    n = 5_000
    paths = [f"/photos/{row:05d}.jpg" for row in range(n)]
    columns = {"size": [1000 + row for row in range(n)], "sha256": [f"{row // 2:064}" for row in range(n)]}
    store = write_finished(tmp_path / "out", paths, component=[row // 2 for row in range(n)], **columns)
    path = write_page(store)
    assert path.stat().st_size < 800 * n / 2
    browser.open(path)
    assert browser.text("[role=tab] .count") == "2,500"
    assert browser.text(".pager span") == "Page 1 of 105"
    browser.click("Accept suggestions for all shown")
    assert "2,500 images to drop" in browser.text(".totals")


def test_decisions_without_room_in_the_local_storage_are_saved_elsewhere(opened, page):
    opened.js("""
        const real = Storage.prototype.setItem;
        Storage.prototype.setItem = function (key, text) {
            if (text.length > 100) throw new DOMException("full", "QuotaExceededError");
            real.call(this, key, text);
        };""")
    opened.keys("n")
    opened.drop_rest(4)
    opened.until(lambda: opened.text("#save-state") == "Saved in this browser ✓")
    opened.driver.get("about:blank")
    opened.driver.get(page.as_uri())
    opened.until(lambda: list_states(opened)[0] == "3 to drop")
    opened.driver.execute_async_script("indexedDB.deleteDatabase('fastdup-ray').onsuccess = arguments[0]")
