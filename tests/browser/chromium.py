"""Chromium, driven by selenium, with what the tests ask of it in a few words."""

import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

REQUIRED = "FASTDUP_RAY_BROWSER"
"""Where it is `required`, as in CI, a test without a browser fails instead of being skipped."""

FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)


SHOWN = "[...document.querySelectorAll(arguments[0])].filter((found) => found.checkVisibility())"


class Browser:
    """Chromium with what the tests ask of it, in a few words."""

    def __init__(self, downloads: Path):
        from selenium.webdriver import Chrome, ChromeOptions, ChromeService

        self.downloads, self._profile = downloads, tempfile.mkdtemp()
        options = ChromeOptions()
        options.binary_location = _found("chromium")
        for flag in (*FLAGS, f"--user-data-dir={self._profile}"):
            options.add_argument(flag)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        self.driver = Chrome(options=options, service=ChromeService(_found("chromedriver")))
        self.size(1400, 1000)
        self.command("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(downloads))

    def close(self) -> None:
        self.driver.quit()
        shutil.rmtree(self._profile, ignore_errors=True)

    def command(self, name: str, **arguments: Any) -> Any:
        """Of Chromium's own protocol."""
        return self.driver.execute_cdp_cmd(name, arguments)

    def size(self, width: int, height: int) -> None:
        self.command(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False
        )

    def media(self, kind: str = "", **features: str) -> None:
        told = [{"name": name.replace("_", "-"), "value": value} for name, value in features.items()]
        self.command("Emulation.setEmulatedMedia", media=kind, features=told)

    def open(self, page: Path | str, part: str = "") -> None:
        """Loads a page afresh, with nothing logged and nothing stored."""
        address = page if isinstance(page, str) else page.as_uri() + part
        self.driver.get(address)
        self.js("localStorage.clear()")
        self.driver.get("about:blank")
        self.logged("performance")
        self.logged("browser")
        self.driver.get(address)

    def js(self, script: str, *arguments: Any) -> Any:
        return self.driver.execute_script(script, *arguments)

    def logged(self, kind: str) -> list[dict[str, Any]]:
        return self.driver.get_log(kind)

    def all(self, selector: str) -> list[Any]:
        """Elements that are shown."""
        return self.js(f"return {SHOWN}", selector)

    def one(self, selector: str) -> Any:
        (found,) = self.all(selector)
        return found

    def texts(self, selector: str) -> list[str]:
        return self.js(f"return {SHOWN}.map((found) => found.innerText)", selector)

    def text(self, selector: str) -> str:
        return self.one(selector).text

    def button(self, words: str, within: str = "body") -> Any:
        """The first button that is shown and begins with these words."""
        for found in self.all(f"{within} button"):
            if found.text.startswith(words) or (found.get_attribute("aria-label") or "").startswith(words):
                return found
        raise AssertionError(f"no button {words!r} within {within}")

    def press(self, element: Any) -> None:
        """Clicks on what may have to be scrolled to, from below the bar at the bottom."""
        self.js("arguments[0].scrollIntoView({block: 'center'})", element)
        element.click()

    def click(self, words: str, within: str = "body") -> None:
        self.button(words, within).click()

    def keys(self, *keys: str) -> None:
        """To what has the focus."""
        from selenium.webdriver import ActionChains

        ActionChains(self.driver).send_keys(*keys).perform()

    def drop_rest(self, count: int) -> None:
        """Drops all of the group that has the focus but its first image."""
        self.keys(*map(str, range(2, count + 1)))

    def clear_all(self, *, confirmed: bool = True) -> None:
        """Clears all decisions, or thinks better of it."""
        self.act("Clear all…")
        alert = self.driver.switch_to.alert
        (alert.accept if confirmed else alert.dismiss)()

    def tab(self, words: str) -> None:
        self.click(words, "[role=tablist]")

    def until(self, condition: Callable[[], Any], seconds: float = 20) -> Any:
        end = time.monotonic() + seconds
        while not (found := condition()):
            assert time.monotonic() < end, "it did not come to be"
            time.sleep(0.05)
        return found

    def download(self, words: str) -> Path:
        """What a button saves, whole."""
        for left in self.downloads.iterdir():
            left.unlink()
        self.act(words)

        def whole() -> Path | None:
            files = list(self.downloads.iterdir())  # a name is reserved, empty, before the content comes to stand there
            return (
                files[0] if len(files) == 1 and files[0].suffix != ".crdownload" and files[0].stat().st_size else None
            )

        return self.until(whole)

    def act(self, words: str) -> None:
        """Presses a button of the bar at the bottom, or of its menu."""
        if words in self.texts("#decision-bar button"):
            self.click(words, "#decision-bar")
        else:
            self.click("More actions", "#decision-bar")
            self.click(words, ".menu-list")

    def requests(self) -> list[str]:
        """The addresses of all that was asked for since the page was opened."""
        events = [json.loads(entry["message"])["message"] for entry in self.logged("performance")]
        return [event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"]


def _found(program: str) -> str:
    path = shutil.which(program)
    if path is None:
        message = f"needs {program} (Debian: apt-get install chromium chromium-driver)"
        if os.environ.get(REQUIRED) == "required":
            pytest.fail(message)
        pytest.skip(message)
    return path
