"""A finished run on pictures with hostile names, with something in every list of its page."""

import os
import shutil
from pathlib import Path

import numpy as np

from fastdup_ray.report.page import write_report
from fastdup_ray.storage import Store
from fastdup_ray.storage.checked_json import read_json
from tests.helpers.images import cloudy, encode
from tests.helpers.pages import changed, group_rows, write_finished

NAMES = (
    "<img src=x onerror=alert(1)>.jpg",
    '" onmouseover="alert(1).jpg',
    "' onfocus='alert(1).jpg",
    "javascript:alert(1).jpg",
    'a,comma "quoted".jpg',
    "a\nnewline.jpg",
    os.fsdecode(b"latin-\xe9,.jpg"),
    "x</script><script>alert(1)<b>.jpg",  # the slash is that of a folder
    "${alert(1)}{{ 7 * 7 }}.jpg",
    "right\U000e0041\u202egpj.exe\u2028line.jpg",
    "Plain.JPG",
    "gone.jpg",
    "=cmd|calc.jpg",
    "<!--<script>.jpg",
)
GONE = NAMES.index("gone.jpg")
COMPONENT = [0, 0, 0, 0, 1, 1, 1, 2, 2, 3, 3, 3, 4, 5]
"""Groups of 4, 3, 3, 2 pictures, and two that are alone."""

COPIES = [(1, 0, "bytes"), (6, 4, "pixels")]
PAIRS = [(0, 1, 1.0), (1, 0, 1.0), (1, 2, 0.98), (4, 5, 0.97), (2, 3, 0.965), (7, 8, 0.93), (10, GONE, 0.9)]
OUTLIERS = [(12, 13, 0.1), (13, 12, 0.12)]
BAD = [("/in/<b>bad.jpg", "TRUNCATED", "image file is <i>truncated</i>"), ("/in/no.jpg", "MISSING", "not there")]


def make_odd(folder: Path) -> tuple[Store, list[str]]:
    """The work_dir and the paths; `write_odd_report` writes its page."""
    photos = folder / "photos"
    photos.mkdir()
    paths = [str(photos / name) for name in NAMES]
    sizes = [(60 + 10 * row, 40 + 3 * row) for row in range(len(NAMES))]
    for row, path in enumerate(paths):
        if row != GONE:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            Path(path).write_bytes(encode(cloudy(COMPONENT[row]).resize(sizes[row]), "JPEG", quality=80 + row % 10))
    shutil.copyfile(paths[0], paths[1])
    sizes[1] = sizes[0]
    for row, path in enumerate(paths):
        if row != GONE:
            os.utime(path, ns=(changed(row), changed(row)))
    features = group_rows(COMPONENT)
    features[1] = features[0]
    features[3] = -features[2]  # a chain: its ends are strangers
    changes = [
        ("image_added", None, paths[10], None, None),
        ("image_removed", None, "/in/removed <i>.jpg", None, None),
        ("new_pair", None, paths[0], paths[1], 1.0),
        *(("group_new", 1, paths[row], None, None) for row in (4, 5, 6)),
    ]
    store = write_finished(
        folder / "out",
        paths,
        pairs=PAIRS,
        outliers=OUTLIERS,
        component=COMPONENT,
        copies=COPIES,
        bad=BAD,
        changes=changes,
        features=features,
        summary={"changes": {"images_added": 1, "images_removed": 1, "new_pairs": 1, "groups_new": 1}},
        width=[width for width, _ in sizes],
        height=[height for _, height in sizes],
        label=[f"<u>{row}" for row in range(len(paths))],
        reference=[row == 8 for row in range(len(paths))],
        brightness=np.linspace(10, 200, len(paths)),
        contrast=np.linspace(20, 60, len(paths)),
        blur=np.linspace(5, 500, len(paths)),
    )
    return store, paths


def write_odd_report(store: Store, **options) -> Path:
    write_report(store, read_json(store, "summary.json"), **options)
    return store.fetch("report/index.html")
