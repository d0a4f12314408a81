"""How long the report takes to make and to open, and how large it is: `python -m tests.bench.report_page`.

A finished run with groups of pictures cut from photographs is made in a temporary folder; Chromium opens its page.
"""

import argparse
import random
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from PIL import Image

from fastdup_ray.common import layout
from fastdup_ray.report.page import write_report
from fastdup_ray.storage import Store
from fastdup_ray.storage.checked_json import read_json
from tests.browser.chromium import Browser
from tests.helpers.pages import write_finished
from tests.helpers.runs import PHOTOS

SIZES = (2, 2, 2, 3, 4)
"""Pictures of the groups, in turn."""


def make_groups(folder: Path, groups: int, side: int = 400) -> Store:
    """A work_dir with so many groups: cuts of photographs, at several qualities."""
    rng = random.Random(8)
    photos = [Image.open(path).convert("RGB") for path in sorted((PHOTOS / "originals").iterdir())]
    paths, component = [], []
    (folder / "photos").mkdir()
    for group in range(groups):
        photo = photos[group % len(photos)]
        left, top = rng.uniform(0, 0.3), rng.uniform(0, 0.3)
        box = [left * photo.width, top * photo.height, (left + 0.7) * photo.width, (top + 0.7) * photo.height]
        cut = photo.crop([int(at) for at in box])
        cut = cut.resize((side, max(1, side * cut.height // cut.width)))
        for copy in range(SIZES[group % len(SIZES)]):
            path = folder / "photos" / f"{group:05d}-{copy}.jpg"
            cut.save(path, quality=90 - 9 * copy)
            paths.append(str(path))
            component.append(group)
    rows = range(len(paths) - 1)
    pairs = [(row, row + 1, 0.97) for row in rows if component[row] == component[row + 1]]
    outliers = [(row, row + 1, 0.2) for row in rows[:200]]
    bad = [(f"/in/{row}.jpg", "TRUNCATED", "cut") for row in range(200)]
    return write_finished(folder / "out", paths, pairs=pairs, outliers=outliers, component=component, bad=bad)


def measure(store: Store, folder: Path) -> Iterator[tuple[str, float, str]]:
    """Name, number and unit of each figure."""
    start = time.monotonic()
    write_report(store, read_json(store, layout.SUMMARY))
    yield "made in", time.monotonic() - start, "s"
    page = store.fetch(layout.REPORT)
    yield "size", page.stat().st_size / 1e6, "MB"
    browser = Browser(folder)
    try:
        times = []
        for _ in range(5):
            browser.open(page)
            times.append(float(browser.js("return document.documentElement.dataset.ready")) / 1000)
        yield "usable after", sorted(times)[2], "s, the median of 5"
        turned = "const start = performance.now(); arguments[0].click(); "
        turned += "document.body.offsetTop; return performance.now() - start"
        yield "next page", browser.js(turned, browser.button("Next", ".pager")) / 1000, "s"
        yield "another tab", browser.js(turned, browser.one("#tab-pairs")) / 1000, "s"
    finally:
        browser.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--groups", type=int, default=2_000)
    groups = parser.parse_args().groups
    with tempfile.TemporaryDirectory() as name:
        (Path(name) / "downloads").mkdir()
        store = make_groups(Path(name), groups)
        print(f"{groups:,} groups")
        for figure, value, unit in measure(store, Path(name) / "downloads"):
            print(f"{figure:>14}  {value:.3f} {unit}")


if __name__ == "__main__":
    main()
