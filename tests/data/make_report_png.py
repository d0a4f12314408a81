"""Take the README's screenshot of the report, on the images beside it: `python -m tests.data.make_report_png`."""

import base64
import tempfile
from pathlib import Path

from tests.browser.chromium import Browser
from tests.helpers.runs import PHOTOS, run_inline

SCREENSHOT = PHOTOS.with_name("report.png")
WIDTH, HEIGHT = 1400, 1180


def take(path: Path = SCREENSHOT) -> None:
    with tempfile.TemporaryDirectory() as name:
        result = run_inline(PHOTOS, Path(name) / "out", threshold=0.7)
        browser = Browser(Path(name))
        try:
            browser.open(result.report)
            browser.size(WIDTH, HEIGHT)
            browser.js("document.querySelector('#input').textContent = 'photos'")  # not where they are on this machine
            browser.keys("n", "a")
            browser.until(lambda: browser.text("#save-state").startswith("Saved"))
            browser.js("document.activeElement.blur(); scrollTo(0, 0)")
            shot = browser.command("Page.captureScreenshot", format="png")["data"]
        finally:
            browser.close()
    path.write_bytes(base64.b64decode(shot))


if __name__ == "__main__":
    take()
