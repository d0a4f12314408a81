"""The report in a browser: every list, the slider, search and orders, keys, the viewer, and that nothing gets out."""

import csv
import re
import shutil

import pytest
from selenium.webdriver import Keys

from fastdup_ray.common import layout
from fastdup_ray.common.names import escape_invisible
from fastdup_ray.report.page import write_report
from fastdup_ray.storage.checked_json import read_json
from tests.bench.report_page import make_groups
from tests.helpers.odd_report import NAMES, write_odd_report


def base(row):
    return escape_invisible(NAMES[row].rpartition("/")[2])


def names_of(browser):
    """The names on each card."""
    return browser.js("""
        const texts = (card) => [...card.querySelectorAll(".name")].map((found) => found.textContent);
        return [...document.querySelectorAll(".card")].map(texts);
    """)


def test_the_head_tells_what_came_out(opened):
    assert opened.text("h1") == "5 duplicates in 14 images."
    assert opened.text("#input") == "/in<put>"
    tiles = dict(text.replace(" →", "").split("\n")[::-1] for text in opened.texts(".tiles button"))
    assert tiles["bad files"] == "2"
    assert tiles["sets of exact duplicates"] == "2"
    assert tiles["groups"] == "4"
    assert tiles["outliers, unlike all others"] == "2"
    assert tiles["in images that are safe to drop"].endswith("kB")
    opened.one("summary").click()
    told = opened.text(".sentence")
    for words in ("threshold 0.85", "ccthreshold 0.96", "index Flat", "search accuracy 98.75 %", "12.8 seconds"):
        assert words in told


@pytest.mark.parametrize(("width", "most"), [(1400, 430), (400, 700)])
def test_the_first_group_is_in_sight(opened, page, width, most):
    opened.size(width, 850)
    opened.open(page)
    assert opened.js("return document.querySelector('.card img').getBoundingClientRect().top") < most


def test_every_tab_shows_its_list(opened):
    tabs = opened.texts("[role=tab]")
    assert [tab.split("\n")[0].rstrip("0123456789 ") for tab in tabs] == [
        *("Groups", "Exact duplicates", "Pairs", "Outliers", "Bad files", "What changed", "Image issues")
    ]
    assert names_of(opened) == [
        [base(row) for row in rows] for rows in (order_of(opened, 0), order_of(opened, 1), order_of(opened, 2), [8, 7])
    ]
    opened.tab("Exact duplicates")
    assert [sorted(names) for names in names_of(opened)] == [sorted([base(0), base(1)]), sorted([base(4), base(6)])]
    opened.tab("Pairs")
    assert names_of(opened)[0] == [base(0), base(1)]
    assert len(names_of(opened)) == 6
    assert "same bytes" in opened.all(".card")[0].text
    opened.tab("Outliers")
    assert names_of(opened) == [[base(12)], [base(13)]]
    opened.tab("Bad files")
    assert opened.texts(".bad tbody tr")[0].split("\n")[0] == "<b>bad.jpg"
    assert "image file is <i>truncated</i>" in opened.text(".bad")
    assert "1 cut off, 1 missing." in opened.text("main")
    assert opened.one(".bad tbody tr:first-child span[title]").get_attribute("title") == "TRUNCATED"
    opened.tab("What changed")
    cards = opened.texts(".card h3")
    assert cards == ["New image", "Removed image", "New pair, similarity 1.0000", "New group, 3 images"]
    assert "removed <i>.jpg" in opened.all(".card")[1].text


def test_images_with_an_issue_are_filtered_and_listed(opened, odd):
    _, paths = odd
    opened.tab("Image issues")
    kinds = opened.js("return [...document.querySelectorAll('#kind option')].map((option) => option.textContent)")
    assert kinds == ["any", "Dark (2)", "Blurred (2)"]
    assert len(opened.all(".tile")) == 4
    opened.js("kind.value = 'dark'; kind.dispatchEvent(new Event('change'))")
    assert names_of(opened) == [[base(0)], [base(1)]]
    assert opened.all(".tile")[0].text.endswith("Dark: brightness 10.0")
    assert "darker than 90 of 255" in opened.text(".actions-on-list")
    for left in opened.downloads.iterdir():
        left.unlink()
    opened.click("Download list")
    file = opened.until(lambda: [path for path in opened.downloads.glob("*.csv") if path.stat().st_size])[0]
    with open(file, newline="") as rows:
        assert [row["filename"] for row in csv.DictReader(rows)] == paths[:2]


def test_one_click_leads_to_what_matters_most(opened):
    """The largest group, the loosest, the most bytes, every bad file: as the data say, computed here anew."""
    groups = opened.js("return JSON.parse(document.getElementById('data').textContent).lists.groups.items")
    largest, loosest, most = (
        max(groups, key=lambda group: group["count"]),
        min(groups, key=lambda group: group["lowest"]),
        max(groups, key=lambda group: group["reclaim"]),
    )
    numbers = (
        "return [...document.activeElement.querySelectorAll('[data-member]')].map((found) => +found.dataset.member)"
    )
    for words, group in (("groups", largest), ("lowest similarity", loosest), ("safe to drop", most)):
        opened.press(next(tile for tile in opened.all(".tiles button") if words in tile.text))
        assert opened.js(numbers) == group["members"]
    opened.press(next(tile for tile in opened.all(".tiles button") if "bad files" in tile.text))
    assert len(opened.texts(".bad tbody tr")) == 2


def test_no_word_of_the_script_is_on_the_page(opened):
    """Such as undefined, where something is not there."""
    for tab in opened.all("[role=tab]"):
        opened.js("arguments[0].click()", tab)
        assert not re.search(r"undefined|null|NaN|\[object", opened.text("body"))
    opened.tab("Outliers")
    opened.press(opened.all(".card")[0].find_element("css selector", ".preview"))
    assert not re.search(r"undefined|null|NaN|\[object", opened.text(".viewer"))
    opened.keys(Keys.ESCAPE)


def order_of(browser, place):
    """The rows of a card, by the data of the page."""
    return browser.js(
        """
        const data = JSON.parse(document.getElementById("data").textContent);
        return data.lists.groups.items[arguments[0]].members.map((number) => data.pictures.row[number]);
    """,
        place,
    )


def test_a_group_tells_its_keeper_why_and_its_lowest_similarity(opened):
    card = opened.all(".card")[0]
    figures = card.find_elements("css selector", "figure")
    assert len(figures) == 4
    assert "4 images" in card.text
    assert "1 exact duplicate" in card.text
    role = figures[0].find_element("css selector", ".role").text
    assert role.startswith("First of this group · most pixels: 90 × 49")  # the fourth is the largest
    assert names_of(opened)[0][0] == base(3)
    lowest = float(card.find_element("css selector", ".weak").text.split()[-1])
    assert lowest == pytest.approx(-1, abs=0.01)  # the ends of the chain are opposite
    assert "least similar in this group" in card.text
    shown = figures[0].text
    assert "90 × 49" in shown
    assert "kB" in shown
    assert "JPEG" in shown
    assert "2023-11-14" in shown
    image = figures[0].find_element("css selector", "img")
    assert image.size["width"] / image.size["height"] == pytest.approx(90 / 49, rel=0.02)
    gone = opened.all(".card")[2]
    assert "no preview: the file does not exist" in gone.text


def test_the_slider_narrows_what_is_shown_and_the_bars(opened):
    opened.tab("Pairs")
    assert len(opened.all(".card")) == 6
    low = opened.one("#range-from")
    low.send_keys(*[Keys.ARROW_RIGHT] * 130)  # of 200 steps from 0.85 to 1
    opened.until(lambda: len(opened.all(".card")) < 6)
    values = [float(text.split()[-1]) for text in opened.texts(".card .fact")]
    assert values == [1.0, 0.98, 0.97, 0.965]
    assert opened.text(".match-count") == "4 of 6 shown"
    assert len(opened.all(".bar.out")) == 2  # 0.9 and 0.93
    high = opened.one("#range-to")
    high.send_keys(*[Keys.ARROW_LEFT] * 20)
    opened.until(lambda: [float(text.split()[-1]) for text in opened.texts(".card .fact")] == [0.98, 0.97, 0.965])
    assert low.get_attribute("aria-valuetext") == "0.948"
    opened.tab("Groups")
    assert opened.texts(".card .fact") != [] or "No groups match." in opened.text("#list")
    high.send_keys(Keys.END)
    low.send_keys(Keys.HOME)
    opened.until(lambda: len(opened.all(".card")) == 4)
    low.send_keys(Keys.ARROW_RIGHT)
    opened.until(lambda: base(3) not in str(names_of(opened)))  # the chain goes first


def test_names_are_searched_and_lists_have_orders(opened):
    search = opened.one("#search")
    search.send_keys("COMMA")
    assert [base(4) in names for names in names_of(opened)] == [True]
    assert opened.text(".match-count") == "1 of 4 shown"
    search.clear()
    search.send_keys("plain.jpg")  # whose name is Plain.JPG
    assert [base(10) in names for names in names_of(opened)] == [True]
    search.clear()
    search.send_keys("no such name")
    assert "No groups match." in opened.text("#list")
    search.clear()
    search.send_keys(" ", Keys.BACKSPACE)
    order = opened.one("#order")
    facts = {}
    for option in order.find_elements("css selector", "option"):
        option.click()
        facts[option.text] = opened.texts(".card h3")
    assert len(facts) == 5
    assert all(len(cards) == 4 for cards in facts.values())
    groups = opened.js("return JSON.parse(document.getElementById('data').textContent).lists.groups.items")
    by_id = {group["id"]: group for group in groups}
    places = {words: [int(card.split()[1].lstrip("#")) for card in facts[words]] for words in facts}
    lowest = [by_id[place]["lowest"] for place in places["lowest similarity first"]]
    assert lowest == sorted(lowest)
    assert places["highest similarity first"] == places["lowest similarity first"][::-1]
    assert [by_id[place]["count"] for place in places["most images first"]] == [4, 3, 3, 2]


def test_the_viewer_compares_side_by_side_blinking_and_as_a_difference(opened):
    opened.keys("n", Keys.ENTER)
    assert opened.text("#viewer-title") == "Group #0 · image 2 of 4"
    images = opened.all(".stage img")
    assert len(images) == 2
    assert images[0].rect["x"] + images[0].rect["width"] <= images[1].rect["x"]
    told = opened.text(".comparison")
    for words in ("Name", "90 × 49", "Keep: most pixels", "2023-11-14", "Equal: ", "format JPEG"):
        assert words in told
    opened.keys("f")
    first, second = opened.all(".stage img")
    assert first.rect == second.rect
    assert second.value_of_css_property("mix-blend-mode") == "difference"
    opened.keys("b")
    away = lambda: opened.js("return getComputedStyle(document.querySelector('.stage img:last-child')).visibility")  # noqa: E731
    seen = set()
    opened.until(lambda: seen.add(away()) or seen == {"hidden", "visible"})
    opened.keys(Keys.ARROW_RIGHT)
    assert "image 3 of 4" in opened.text("#viewer-title")
    opened.keys("l")
    assert "least similar" in opened.text(".viewer .message")
    opened.keys("n")
    assert opened.text("#viewer-title").startswith("Group #1")
    opened.keys("d")
    assert "right: drop" in opened.text(".viewer .state")
    opened.keys(Keys.ESCAPE)
    opened.until(lambda: not opened.all(".viewer"))
    assert opened.js("return document.activeElement.getAttribute('aria-label')").startswith("Group #0,")
    assert "1 to drop" in opened.texts(".card h3")[1]


def test_the_difference_of_copies_is_black_and_of_others_is_not(opened, tmp_path):
    from PIL import Image

    def brightest(tab, card):
        opened.tab(tab)
        opened.press(opened.all(".card")[card].find_element("css selector", ".preview"))
        opened.keys("f")
        opened.until(lambda: "Differences" in opened.text(".hint") or "No difference" in opened.text(".hint"))
        path = tmp_path / "stage.png"
        opened.one(".layers").screenshot(str(path))
        opened.keys(Keys.ESCAPE)
        opened.until(lambda: not opened.all(".viewer"))
        with Image.open(path) as image:
            return max(
                high for _, high in image.convert("RGB").crop((9, 9, image.width - 9, image.height - 9)).getextrema()
            )

    assert brightest("Exact duplicates", 0) <= 16  # of 255, four times as bright: what scaling leaves
    assert brightest("Outliers", 0) > 60


def test_hostile_names_are_inert(opened, odd):
    """As text everywhere, and nothing of them runs."""
    tags = set(opened.js("return [...document.querySelectorAll('*')].map((found) => found.localName)"))
    for tab in opened.all("[role=tab]"):
        tab.click()
        opened.js("document.querySelectorAll('.card').forEach((card) => card.focus())")
        tags |= set(opened.js("return [...document.querySelectorAll('*')].map((found) => found.localName)"))
        handlers = opened.js("""return [...document.querySelectorAll('*')].flatMap((found) => found.getAttributeNames())
            .filter((name) => name.startsWith('on'))""")
        assert handlers == []
    assert not tags & {"u", "i", "iframe", "object", "embed", "base", "form"}
    assert opened.js("return document.querySelectorAll('script').length") == 3
    assert opened.js("return [...document.querySelectorAll('a')].map((found) => found.getAttribute('href'))") == [
        "#list"
    ]
    opened.tab("Groups")
    text = opened.js("return document.getElementById('list').textContent")
    for row in range(11):
        assert base(row) in text
    assert "\u202e" not in text
    assert r"\U000e0041\u202egpj.exe\u2028line" in text
    assert r"latin-\xe9" in text


def test_no_request_leaves_the_page(opened, page):
    for tab in opened.all("[role=tab]"):
        tab.click()
    opened.tab("Groups")
    opened.keys("n", Keys.ENTER, "f", "b", Keys.ESCAPE, "a")
    opened.download("Download plan")
    asked = {url for url in opened.requests() if not url.startswith(("data:", "blob:", "about:"))}
    assert asked == {page.as_uri()}


def test_what_the_policy_does_not_allow_does_not_happen(browser, page):
    """An image of somebody's, a script that was put in, a request: all refused."""
    browser.open(page)
    assert (
        browser.js("""
        const image = new Image();
        image.src = "http://127.0.0.1:9/x.png";
        document.body.append(image);
        const script = document.createElement("script");
        script.textContent = "window.ran = true";
        document.body.append(script);
        return window.ran ?? "not run";
    """)
        == "not run"
    )
    refused = browser.driver.execute_async_script(
        "fetch('http://127.0.0.1:9/').then(() => arguments[0]('sent'), (error) => arguments[0](error.name))"
    )
    assert refused == "TypeError"
    complaints = browser.until(lambda: browser.logged("browser"))
    assert any("Content Security Policy" in entry["message"] for entry in complaints)
    assert not [url for url in browser.requests() if url.startswith("http") and "127.0.0.1:9" not in url]


def test_it_is_usable_by_keyboard_and_screen_reader(opened):
    order = []
    for _ in range(20):
        opened.keys(Keys.TAB)
        order.append(opened.js("const on = document.activeElement; return on.id || on.textContent"))
    assert order[0] == "Skip to the images"
    assert order.index("tab-groups") < order.index("search") < order.index("range-from") < order.index("range-to")
    assert order.index("range-to") < order.index("order") < order.index("keeper-rule") < order.index("accept-all")
    assert "tab-exact" not in order  # the arrows go from tab to tab
    nodes = opened.command("Accessibility.getFullAXTree")["nodes"]
    named = {
        "button",
        "tab",
        "slider",
        "searchbox",
        "combobox",
        "checkbox",
        "image",
        "tabpanel",
        "region",
        "dialog",
        "link",
    }
    for node in nodes:
        if not node["ignored"] and node.get("role", {}).get("value") in named:
            assert node.get("name", {}).get("value", "").strip(), node
    roles = {node.get("role", {}).get("value") for node in nodes if not node["ignored"]}
    assert {"main", "banner", "tablist", "tab", "tabpanel", "slider", "region", "status", "article"} <= roles
    opened.js("document.getElementById('tab-groups').focus()")
    opened.keys(Keys.ARROW_RIGHT)
    assert opened.js("return document.activeElement.id") == "tab-exact"
    assert opened.one("#tab-exact").get_attribute("aria-selected") == "true"
    opened.keys("?")
    assert "undo the last decision" in opened.text(".help")
    opened.keys(Keys.ESCAPE)
    opened.until(lambda: not opened.all(".help"))


def test_it_is_light_and_dark(opened):
    background = lambda: opened.one("body").value_of_css_property("background-color")  # noqa: E731
    light = background()
    opened.media(prefers_color_scheme="dark")
    assert background() != light
    assert sum(map(int, background()[5:].split(",")[:3])) < 100


@pytest.mark.parametrize("width", [400, 1400])
def test_it_fits_its_window(opened, width):
    opened.size(width, 900)
    for tab in opened.all("[role=tab]"):
        opened.js("arguments[0].click()", tab)
        assert opened.js("return document.documentElement.scrollWidth") <= width
    opened.js("document.getElementById('tab-groups').click()")
    opened.js("document.querySelector('.card .compare').click()")
    assert opened.js("return document.querySelector('.viewer').scrollWidth") <= width
    opened.keys(Keys.ESCAPE)


def test_it_prints_the_pictures_and_not_the_buttons(opened):
    opened.media("print")
    assert opened.all(".card img")
    assert opened.texts(".tiles")
    assert not opened.all("#decision-bar")
    assert not opened.all(".actions")
    assert not opened.all("#search")
    opened.size(700, 900)
    assert opened.js("return document.documentElement.scrollWidth") <= 700
    assert len(opened.command("Page.printToPDF")["data"]) > 10_000


def test_without_thumbnails_no_picture_is_in_the_page(browser, odd, tmp_path):
    store, _ = odd
    made = write_odd_report(store, thumbnails=False)
    private = tmp_path / "private.html"
    shutil.copyfile(made, private)
    write_odd_report(store)
    assert b"data:image" not in private.read_bytes()
    browser.open(private)
    assert not browser.all("img")
    assert "thumbnails were left out" in browser.all(".card")[0].text
    browser.keys("n")
    browser.drop_rest(4)
    assert "3 to drop" in browser.texts(".card h3")[0]


@pytest.mark.slow
def test_five_thousand_groups_are_quick_and_under_30_mb(browser, tmp_path):
    """The time is measured by tests/bench/report_page.py; here only what no machine should miss."""
    store = make_groups(tmp_path, 5_000, side=60)
    write_report(store, read_json(store, layout.SUMMARY))
    made = store.fetch(layout.REPORT)
    assert made.stat().st_size < 30_000_000
    browser.open(made)
    assert float(browser.js("return document.documentElement.dataset.ready")) < 20_000
    assert len(browser.all(".card")) == 24
    assert browser.text(".pager span") == "Page 1 of 209"
    browser.keys("]")
    assert browser.texts(".card h3")[0].startswith("Group ")
    browser.one("#search").send_keys("01234-")
    assert len(browser.all(".card")) == 1
    assert browser.text(".match-count") == "1 of 5,000 shown"
    assert all(browser.js("return [...document.images].map((image) => image.complete)"))
