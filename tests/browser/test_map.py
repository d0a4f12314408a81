"""The map in a browser: pointer, keys, colors, search, and that nothing gets out."""

from os import fsdecode
from urllib.parse import unquote_to_bytes

import pytest
from selenium.webdriver import ActionChains, Keys
from selenium.webdriver.common.actions.wheel_input import ScrollOrigin

from fastdup_ray import create_embedding_map
from fastdup_ray.common.names import escape_invisible
from tests.helpers.odd_report import NAMES


@pytest.fixture(scope="module")
def map_page(odd, tmp_path_factory):
    folder = tmp_path_factory.mktemp("map")
    create_embedding_map(odd[0].location, folder)
    return folder / "map.html"


@pytest.fixture
def shown(browser, map_page):
    browser.open(map_page)
    browser.until(lambda: count_colors(browser) > 1)
    return browser


def base(row):
    return escape_invisible(NAMES[row].rpartition("/")[2])


def read_canvas(browser, script):
    return browser.js(f"""
        const {{width, height}} = document.querySelector("canvas");
        const context = new OffscreenCanvas(width, height).getContext("2d", {{willReadFrequently: true}});
        context.drawImage(document.querySelector("canvas"), 0, 0);
        const pixels = context.getImageData(0, 0, width, height).data;
        const colors = new Map();
        for (let at = 0; at < pixels.length; at += 4) {{
            if (pixels[at + 3] < 200) continue;
            const color = pixels.slice(at, at + 3).join();
            colors.set(color, (colors.get(color) ?? 0) + 1);
        }}
        return {script};
    """)


def count_colors(browser):
    """Colors of whole points, not of their edges."""
    return read_canvas(browser, "[...colors.values()].filter((count) => count > 60).length")


def point_at(browser, x, y):
    """Move the pointer to a place, from 0 to 1, of what the points take of the canvas."""
    canvas = browser.one("canvas")
    width, height = canvas.size["width"], canvas.size["height"]
    extent = browser.js("return [Number(map.dataset.width), Number(map.dataset.height)]")
    unit = min((width - 48) / extent[0], (height - 48) / extent[1])
    offset = [round((part - 0.5) * size * unit) for part, size in zip((x, y), extent, strict=True)]
    ActionChains(browser.driver, duration=0).move_to_element_with_offset(canvas, *offset).perform()


def read_name(browser):
    """The announcement of the current image begins with its name, which is also shown beside it."""
    said = browser.js("return document.getElementById('message').textContent")
    browser.until(lambda: said.startswith(browser.texts(".tip b")[0] if browser.all(".tip") else "-"))
    return browser.text(".tip b")


def place_of(browser, point):
    return browser.js(
        """const {x, y} = JSON.parse(data.textContent);
        return [x[arguments[0]] / map.dataset.width, y[arguments[0]] / map.dataset.height]""",
        point,
    )


def test_the_pointer_shows_an_image_and_a_click_opens_it(shown):
    assert shown.all(".tip") == []
    point_at(shown, *place_of(shown, 12))
    shown.until(lambda: shown.all(".tip"))
    assert shown.texts(".tip b") == [base(12)]
    assert shown.js("return document.querySelector('.tip img').naturalWidth") > 50
    ActionChains(shown.driver, duration=0).click().perform()
    shown.until(lambda: shown.all("dialog[open]"))
    assert base(12) in shown.text("dialog figcaption")
    assert "outlier" in shown.text("dialog figcaption")
    assert len(shown.all("dialog .frame")) == 12
    shown.all("dialog .frame")[0].click()
    assert base(12) not in shown.text("dialog figcaption")
    shown.keys(Keys.ESCAPE)
    assert shown.all("dialog[open]") == []


def test_the_keys_lead_to_every_image_and_say_which_it_is(shown):
    shown.js("document.querySelector('canvas').focus()")
    named = set()
    for _ in NAMES:
        shown.keys("n")
        named.add(read_name(shown))
    assert named == {base(row) for row in range(len(NAMES))}
    shown.keys(Keys.ENTER)
    shown.one("dialog[open]")
    shown.keys(Keys.ESCAPE, Keys.ESCAPE)
    shown.until(lambda: not shown.all(".tip"))


def test_arrows_go_to_the_next_image_in_their_direction(shown):
    shown.js("document.querySelector('canvas').focus()")
    shown.keys("n")
    for _ in range(20):
        shown.keys(Keys.ARROW_RIGHT)
    rightmost = shown.js("const {x} = JSON.parse(data.textContent); return x.indexOf(Math.max(...x))")
    assert read_name(shown) == base(rightmost)


def test_a_category_or_a_search_makes_its_images_stand_out(shown):
    shown.one("#color-by").send_keys("Group")
    entries = [text.split("\n") for text in shown.texts(".legend button")]
    assert entries[-1] == ["in no group", "2"]
    assert dict(entries)["Group #0"] == "4"
    shown.click("Group #0", ".legend")
    assert shown.text(".match-count") == "4 of 14 images"
    shown.js("document.querySelector('canvas').focus()")
    names = set()
    for _ in range(6):
        shown.keys("n")
        names.add(read_name(shown))
    assert names == {base(row) for row in range(4)}
    shown.click("Group #0", ".legend")
    shown.one("input[type=search]").send_keys("plain")
    assert shown.text(".match-count") == "1 of 14 images"


def test_it_zooms_and_moves(shown):
    shown.click("Zoom in")
    shown.until(lambda: shown.text(".whole") == "150 %")
    before = read_canvas(shown, "[...colors.keys()].length")
    assert before
    canvas = shown.one("canvas")
    ActionChains(shown.driver, duration=0).move_to_element(canvas).scroll_from_origin(
        ScrollOrigin.from_element(canvas), 0, -100
    ).perform()
    shown.until(lambda: shown.text(".whole") == "225 %")
    drawn = shown.js("return document.querySelector('canvas').toDataURL()")
    ActionChains(shown.driver, duration=50).drag_and_drop_by_offset(canvas, 90, 40).perform()
    shown.until(lambda: shown.js("return document.querySelector('canvas').toDataURL()") != drawn)
    assert shown.all("dialog[open]") == []
    shown.click("Show the whole map")
    shown.until(lambda: shown.text(".whole") == "100 %")


def test_the_colors_are_those_of_the_theme(shown):
    light = read_canvas(shown, "[...colors].sort((one, other) => other[1] - one[1])[0][0]")
    shown.media(prefers_color_scheme="dark")
    shown.until(
        lambda: read_canvas(shown, "[...colors].sort((one, other) => other[1] - one[1])[0][0]") not in (None, light)
    )


def test_hostile_names_are_inert_and_no_request_leaves_the_page(shown, map_page):
    shown.js("document.querySelector('canvas').focus()")
    for _ in NAMES:
        shown.keys("n", Keys.ENTER)
        text = shown.js("return document.querySelector('dialog').textContent")
        assert "\u202e" not in text
        shown.keys(Keys.ESCAPE)
    tags = set(shown.js("return [...document.querySelectorAll('*')].map((found) => found.localName)"))
    assert not tags & {"u", "i", "iframe", "object", "embed", "base", "form"}
    handlers = "return [...document.querySelectorAll('*')].flatMap((found) => found.getAttributeNames())"
    assert [name for name in shown.js(handlers) if name.startswith("on")] == []
    asked = {url for url in shown.requests() if not url.startswith(("data:", "blob:", "about:"))}
    assert asked == {map_page.as_uri()}


def test_the_link_leads_to_the_file(shown, odd):
    shown.js("document.querySelector('canvas').focus()")
    for row, path in enumerate(odd[1]):
        shown.keys("n", Keys.ENTER)
        (link,) = shown.js("return [...document.querySelectorAll('dialog a')].map((found) => found.href)")
        shown.keys(Keys.ESCAPE)
        assert decode_link(link) == path, row


def decode_link(link):
    return fsdecode(unquote_to_bytes(link.removeprefix("file://")))


def test_without_a_script_the_picture_is_there(browser, map_page):
    browser.command("Emulation.setScriptExecutionDisabled", value=True)
    try:
        browser.open(map_page)
        assert browser.driver.find_element("css selector", "svg.picture").is_displayed()
        assert "picture only" in browser.driver.find_element("css selector", ".warning").text
    finally:
        browser.command("Emulation.setScriptExecutionDisabled", value=False)
