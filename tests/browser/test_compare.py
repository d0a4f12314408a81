"""Two images in the large view: zoom and pan in step, their similarity, what differs, and how brightly."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from selenium.webdriver import ActionChains, Keys

from fastdup_ray.common import layout
from fastdup_ray.report.page import write_report
from fastdup_ray.storage.checked_json import read_json
from tests.browser.chromium import Browser
from tests.helpers.pages import write_finished

FEATURES = np.array([[1.0, 0.0, 0.0], [0.8, 0.6, 0.0], [0.8, 0.0, 0.6]])
"""0 is as similar to 1 as to 2, and these are less similar to each other."""


@pytest.fixture
def compared(browser: Browser, tmp_path: Path) -> Browser:
    """Three images, the second a little brighter than the first in one place, the third of another size."""
    pixels = np.full((60, 90, 3), 100, np.uint8)
    changed = pixels.copy()
    changed[20:40, 30:60] += 17
    images = [Image.fromarray(pixels), Image.fromarray(changed), Image.fromarray(pixels).resize((60, 40))]
    paths = [str(tmp_path / f"{row}.png") for row in range(3)]
    for image, path in zip(images, paths, strict=True):
        image.save(path)
    features = np.zeros((3, 16))
    features[:, :3] = FEATURES
    sizes = {"width": [90, 90, 60], "height": [60, 60, 40], "size": [900, 800, 700]}
    times = {"mtime_or_etag": [str(Path(path).stat().st_mtime_ns) for path in paths]}
    store = write_finished(tmp_path / "out", paths, component=[0] * 3, features=features, **sizes, **times)
    write_report(store, read_json(store, layout.SUMMARY))
    browser.open(store.fetch(layout.REPORT))
    browser.keys("n", Keys.ENTER)
    return browser


def places(browser: Browser) -> list[list[float]]:
    """Left, top and width of each image, in parts of its sheet."""
    return browser.js("""
        return [...document.querySelectorAll(".stage img")].map((image) => {
            const [own, sheet] = [image, image.closest(".sheet")].map((element) => element.getBoundingClientRect());
            return [own.left - sheet.left, own.top - sheet.top, own.width].map((length, at) =>
                length / (at === 1 ? sheet.height : sheet.width));
        });""")


def press_shifted(browser: Browser, key: str) -> None:
    ActionChains(browser.driver).key_down(Keys.SHIFT).send_keys(key).key_up(Keys.SHIFT).perform()


def test_both_images_are_zoomed_and_moved_in_step(compared):
    assert places(compared) == [[0, 0, 1]] * 2
    compared.keys("+", "+")
    left, right = places(compared)
    assert left == pytest.approx(right, abs=1e-3)
    assert left == pytest.approx([-0.625, -0.625, 2.25], abs=1e-3)
    assert compared.text(".whole") == "225 %"
    sheet = compared.all(".sheet")[1]
    ActionChains(compared.driver).drag_and_drop_by_offset(sheet, 40, 20).perform()
    moved = places(compared)
    assert moved[0] == pytest.approx(moved[1], abs=1e-3)
    assert moved[0][0] == pytest.approx(-0.625 + 40 / sheet.rect["width"], abs=1e-3)
    compared.keys("f")  # the other views show the same part
    assert places(compared)[0] == pytest.approx(moved[0], abs=1e-3)
    compared.keys("0", "s")
    assert places(compared) == [[0, 0, 1]] * 2
    compared.keys("-")  # not smaller than the whole
    assert places(compared) == [[0, 0, 1]] * 2


def test_the_wheel_zooms_to_the_pointer(compared):
    compared.js("""
        const { left, top, width, height } = document.querySelector(".sheet").getBoundingClientRect();
        const place = { clientX: left + 0.25 * width, clientY: top + 0.5 * height, deltaY: -1 };
        document.querySelector(".sheet").dispatchEvent(
            new WheelEvent("wheel", { ...place, bubbles: true, cancelable: true }));""")
    for place in places(compared):
        assert place == pytest.approx([-0.125, -0.25, 1.5], abs=1e-3)


def test_another_pair_is_shown_whole(compared):
    compared.keys("+", Keys.ARROW_RIGHT)
    assert places(compared) == [[0, 0, 1]] * 2


def test_a_pair_has_its_own_similarity(compared):
    fact = ".viewer header .fact"
    assert compared.text(fact) == "80.0 % similar"
    compared.keys("l")  # the second and the third
    assert compared.text(fact) == "64.0 % similar"


def test_what_is_equal_is_folded(compared):
    rows = compared.texts(".compared th")
    assert "Pixels" not in rows
    assert "Size" in rows
    assert "pixels 90 × 60" in compared.text(".equal")
    compared.keys(Keys.ARROW_RIGHT)
    assert "Pixels" in compared.texts(".compared th")


def test_the_left_image_has_keys_too(compared):
    press_shifted(compared, "d")
    assert compared.text(".viewer .state") == "left: drop, right: undecided"
    assert compared.text(".viewer .message").startswith("Decided to drop")
    compared.keys("k")
    press_shifted(compared, "k")
    assert compared.text(".viewer .state") == "left: keep, right: keep"


def test_a_difference_is_as_bright_as_it_can_be(compared):
    brightness = "return Number(document.querySelector('.layers').style.filter.match(/[0-9.]+/)[0])"
    compared.keys("f")
    compared.until(lambda: "the largest is white" in compared.text(".hint"))
    assert compared.js(brightness) == pytest.approx(255 / 17, rel=0.2)
    compared.click("Brightness of differences: ×4", ".viewer")
    assert compared.js(brightness) == 4
    compared.click("Brightness of differences: ×16", ".viewer")
    assert compared.js(brightness) == 16
    compared.click("Brightness of differences: Auto", ".viewer")
    compared.keys(Keys.ARROW_RIGHT)
    compared.until(lambda: "No difference can be seen" in compared.text(".hint"))
    assert "The sizes differ (90 × 60 and 60 × 40)" in compared.text(".hint")
