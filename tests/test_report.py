"""The report and the galleries, on a work_dir made by hand: its pictures have hostile names, and one is gone."""

import base64
import hashlib
import io
import json
import os
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from fastdup_ray import layout
from fastdup_ray.errors import ConfigError, DamagedError
from fastdup_ray.report import page
from fastdup_ray.report.galleries import (
    create_components_gallery,
    create_duplicates_gallery,
    create_outliers_gallery,
    generate_duplicates_gallery,
)
from fastdup_ray.report.histogram import make_histogram
from fastdup_ray.report.page import write_report
from fastdup_ray.report.rendering import in_bytes, visible
from fastdup_ray.report.thumbnails import MAX_SIDE, make_thumbnail
from fastdup_ray.storage import open_store
from fastdup_ray.tables import encoded, printable_column, write_csv, write_parquet

NAMES = (
    "<img src=x onerror=alert(1)>.jpg",
    '" onmouseover="alert(1).jpg',
    "' onfocus='alert(1).jpg",
    "javascript:x.jpg",
    "a,comma.jpg",
    "a\nnewline.jpg",
    os.fsdecode(b"latin-\xe9.jpg"),
    "</style><script>alert(1)</script>.jpg".replace("/", "\u2215"),
    "{{ 7 * 7 }}.jpg",
    "right\u202egpj.exe.jpg",
    "plain.jpg",
    "gone.jpg",
)
GONE = NAMES.index("gone.jpg")
PAIRS = [(0, 1, 1.0), (1, 0, 1.0), (1, 2, 0.98), (3, 4, 0.97), (4, 3, 0.97), (5, 6, 0.93), (10, GONE, 0.9)]
ONCE = [(0, 1), (1, 2), (3, 4), (5, 6), (10, GONE)]
OUTLIERS = [(7, 8, 0.1), (8, 7, 0.1), (9, 0, 0.2)]
COMPONENTS = [0, 0, 0, 1, 1, 2, 3, 4, 5, 6, 7, 7]
BAD = [("<b>bad</b>.jpg", "TRUNCATED", "image file is <i>truncated</i>"), ("no.jpg", "MISSING", "not there")]
SUMMARY = {
    "version": "0.1.0",
    "counts": {
        "entries": 1014,
        "images": 1012,
        "bad": 2,
        "pairs": 7,
        "outliers": 3,
        "components": 3,
        "exact_copies": 1,
    },
    "neighbors": {"index": "Flat", "recall": 0.9875},
    "seconds": {"list": 0.5, "features": 12.25},
    "model": {"sha256": "0123abcd"},
    "warnings": ["k <1> is few"],
}
CONFIG = {"input_dir": "/in<put>", "threshold": 0.85, "ccthreshold": 0.96, "distance": "cosine", "max_pixels": 10_000}


class Page(HTMLParser):
    """Every start tag with its attributes, and the text between."""

    def __init__(self, path: str):
        super().__init__()
        self.source = Path(path).read_text(encoding="utf-8")
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(self.source)

    def handle_starttag(self, tag, attrs):
        assert len(dict(attrs)) == len(attrs)
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]

    @property
    def pictures(self) -> list[str]:
        """What pictures and placeholders say that they are, in order."""
        return [
            attributes["alt"] if tag == "img" else attributes["aria-label"].removesuffix(": no picture")
            for tag, attributes in self.tags
            if tag == "img" or attributes.get("class") == "placeholder"
        ]


@pytest.fixture
def photos(tmp_path):
    """Paths of the pictures of `NAMES`; the first two are the same bytes, the last is not there."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for number, name in enumerate(NAMES):
        pixels = np.random.default_rng(max(number, 1)).integers(0, 256, (4, 6, 3), np.uint8)
        if number != GONE:
            Image.fromarray(pixels).resize((60, 40 + number)).save(folder / name, "JPEG")
    (folder / NAMES[0]).write_bytes((folder / NAMES[1]).read_bytes())
    return [str(folder / name) for name in NAMES]


@pytest.fixture
def store(tmp_path, photos):
    """The outputs of a run on `photos`."""
    store = open_store(str(tmp_path / "out"))
    store.prepare()
    names = encoded(photos)
    write_csv(store, layout.FEATURES_CSV, layout.FEATURES_HEADER, [np.arange(len(photos)), names])
    for name, rows in ((layout.SIMILARITY_CSV, PAIRS), (layout.OUTLIERS_CSV, OUTLIERS)):
        write_pairs(store, name, names, rows)
    bad = list(zip(*BAD, strict=True))
    write_csv(store, layout.BAD_CSV, layout.BAD_HEADER, [encoded(column) for column in bad])
    digests = [hashlib.sha256(Path(path).read_bytes() if Path(path).exists() else b"").hexdigest() for path in photos]
    facts = {"size": [12_345] * len(photos), "mtime_or_etag": ["1"] * len(photos), "sha256": digests}
    shape = {"width": [60] * len(photos), "height": list(range(40, 52)), "format": ["JPEG"] * len(photos)}
    images = {"index": np.arange(len(photos)), "filename": printable_column(names)} | facts | shape
    write_parquet(store, layout.IMAGES, pa.table(images))
    count = np.bincount(COMPONENTS)[COMPONENTS]
    low = pa.array([0.98, 0.97, None, None, None, None, None, 0.9]).take(pa.array(COMPONENTS))
    nothing = pa.nulls(len(photos), pa.float64())
    columns = [np.arange(len(photos)), np.array(COMPONENTS), nothing, nothing, count, low]
    write_parquet(store, layout.COMPONENTS, pa.table(columns, layout.COMPONENTS_HEADER))
    with store.create(layout.CONFIG) as path:
        path.write_text(json.dumps(CONFIG))
    return store


def write_pairs(store, name, names, rows):
    columns = [names.take(pa.array([row[end] for row in rows], pa.int64())) for end in (0, 1)]
    write_csv(store, name, layout.PAIRS_HEADER, [*columns, np.array([row[2] for row in rows], np.float64)])


@pytest.fixture
def report(store):
    write_report(store, SUMMARY)
    return Page(store.fetch(layout.REPORT))


def shown_name(index):
    return visible(NAMES[index])


def test_the_report_tells_counts_parameters_recall_and_time(report):
    for text in (
        "1,014",
        "1,012",
        "/in<put>",
        "threshold 0.85",
        "index Flat",
        "recall 0.9875",
        "12.8 seconds",
        "k <1> is few",
    ):
        assert text in report.text
    assert "5 pairs by similarity" in report.text
    assert "ccthreshold 0.96" in report.text
    assert "TRUNCATED" in report.text and "image file is <i>truncated</i>" in report.text


def test_groups_come_largest_first_with_exact_copies_marked(report):
    groups = re.findall(r"Group (\d+) · (\d+) pictures lowest similarity ([\d.]+)", " ".join(report.text.split()))
    assert groups == [("1", "3", "0.9800"), ("2", "2", "0.9700"), ("3", "2", "0.9000")]
    assert report.pictures[:7] == [shown_name(index) for index in (0, 1, 2, 3, 4, 10, GONE)]
    marked = [bool(attributes) for attributes in report.all("span") if attributes.get("class") == "badge"]
    assert len(marked) == 2 + 1  # two pictures of the first group, and their pair


def test_the_report_counts_pairs_once_and_names_every_outlier(report):
    pairs = [shown_name(index) for pair in ONCE for index in pair]
    outliers = [shown_name(index) for row in OUTLIERS for index in row[:2]]
    assert report.pictures[7:] == pairs + outliers
    assert report.text.count("an outlier, too") == 2


def test_a_missing_picture_is_a_placeholder(report):
    placeholders = [attributes for attributes in report.all("div") if attributes.get("class") == "placeholder"]
    assert len(placeholders) == 2
    assert "the file does not exist" in report.text


TAGS = """
    html head meta link title style body header h1 h2 h3 p bdi dl div dt dd strong figure figcaption svg rect line text
    details summary table caption tbody thead tr th td nav a span main section code article img b br footer
"""
ATTRIBUTES = """
    lang charset http-equiv content name rel href class id src width height alt decoding role aria-label scope
    viewbox x y x1 x2 y1 y2 text-anchor
"""


def made_pages(store):
    write_report(store, SUMMARY)
    yield str(store.fetch(layout.REPORT))
    for create in (create_duplicates_gallery, create_outliers_gallery, create_components_gallery):
        yield create(work_dir=store.location)


def test_hostile_names_are_inert_in_every_page(store):
    for path in made_pages(store):
        made = Page(path)
        assert {tag for tag, _ in made.tags} <= set(TAGS.split())
        assert {name for _, attributes in made.tags for name in attributes} <= set(ATTRIBUTES.split())
        assert "\u202e" not in made.source and "49.jpg" not in made.text
    names = Page(create_duplicates_gallery(work_dir=store.location)).text
    for index in {index for pair in ONCE for index in pair}:
        assert shown_name(index) in names


def test_no_page_asks_for_anything_else(store):
    for path in made_pages(store):
        made = Page(path)
        for tag, attributes in made.tags:
            for name in ("src", "href"):
                if name in attributes:
                    assert attributes[name].startswith(("data:", "#")), (tag, attributes)
        assert "url(" not in made.source and "@import" not in made.source
        policies = [meta["content"] for meta in made.all("meta") if meta.get("http-equiv") == "Content-Security-Policy"]
        style = re.search(r"<style>(.*?)</style>", made.source, re.DOTALL)[1]
        digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
        assert policies == [
            f"default-src 'none'; img-src data:; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
        ]


def test_the_report_is_made_of_little(store, photos):
    """No pairs, outliers, bad files or groups, and a summary without anything."""
    for name in (layout.SIMILARITY_CSV, layout.OUTLIERS_CSV):
        write_pairs(store, name, encoded(photos), [])
    write_csv(store, layout.BAD_CSV, layout.BAD_HEADER, [encoded([])] * 3)
    store.remove(layout.COMPONENTS)
    write_report(store, {})
    made = Page(store.fetch(layout.REPORT))
    assert made.pictures == []
    assert "run_cc=0" in made.text and made.text.count("There are none") == 3


def test_the_report_says_how_much_it_leaves_out(store, monkeypatch):
    for name, limit in (("GROUPS", 2), ("PAIRS", 3), ("OUTLIERS", 1), ("BAD", 1)):
        monkeypatch.setattr(page, name, limit)
    write_report(store, SUMMARY)
    text = Page(store.fetch(layout.REPORT)).text
    for shown in ("2 of 3 groups", "3 of 5 pairs", "1 of 3 outliers", "1 of 2 bad files"):
        assert f"First {shown} shown." in text


def test_the_report_stays_within_its_bytes(store, monkeypatch):
    monkeypatch.setattr(page, "PAIR_BYTES", 1)
    write_report(store, SUMMARY)
    assert "First 1 of 5 pairs shown." in Page(store.fetch(layout.REPORT)).text


def test_other_metrics_are_named_and_have_no_cosine_thresholds(store):
    with store.create(layout.CONFIG) as path:
        path.write_text(json.dumps(CONFIG | {"distance": "squared_euclidean"}))
    write_report(store, SUMMARY)
    made = Page(store.fetch(layout.REPORT))
    assert "5 pairs by squared euclidean distance" in made.text
    assert not [line for line in made.all("line") if line["class"] == "mark"]


def test_the_duplicates_gallery_counts_pairs_once(store, tmp_path):
    made = create_duplicates_gallery(
        store.fetch(layout.SIMILARITY_CSV), save_path=tmp_path / "new" / "gallery", num_images=3
    )
    assert made == str(tmp_path / "new" / "gallery" / "duplicates.html")
    assert Page(made).pictures == [shown_name(index) for pair in ONCE[:3] for index in pair]
    assert "First 3 of 5 pairs shown." in Page(made).text
    assert generate_duplicates_gallery is create_duplicates_gallery


def test_the_least_similar_come_first_without_descending(store):
    made = Page(create_duplicates_gallery(work_dir=store.location, descending=False))
    assert made.pictures == [shown_name(index) for pair in reversed(ONCE) for index in pair]


def test_the_order_of_the_file_counts_where_a_distance_rises(store, photos):
    write_pairs(store, layout.SIMILARITY_CSV, encoded(photos), [(0, 1, 0.0), (2, 3, 0.5), (4, 5, 1.5)])
    made = Page(create_duplicates_gallery(work_dir=store.location, num_images=1))
    assert made.pictures == [shown_name(0), shown_name(1)]
    made = Page(create_duplicates_gallery(work_dir=store.location, num_images=1, descending=False))
    assert made.pictures == [shown_name(4), shown_name(5)]


@pytest.mark.parametrize(("values", "measure"), [((0.0, 0.5), "Distance"), ((0.9, 0.8), "Similarity")])
def test_the_order_of_a_csv_alone_tells_distances_from_similarities(values, measure, photos, tmp_path):
    pairs = [(0, 1, values[0]), (2, 3, values[1])]
    write_pairs(open_store(tmp_path), layout.SIMILARITY_CSV, encoded(photos), pairs)
    write_pairs(open_store(tmp_path), layout.OUTLIERS_CSV, encoded(photos), pairs[::-1])
    for gallery, file in (
        (create_duplicates_gallery, layout.SIMILARITY_CSV),
        (create_outliers_gallery, layout.OUTLIERS_CSV),
    ):
        assert measure in Page(gallery(tmp_path / file)).text


def test_a_csv_alone_is_enough(store, tmp_path, monkeypatch):
    (tmp_path / "elsewhere").mkdir()
    csv = tmp_path / "elsewhere" / "renamed.csv"
    csv.write_bytes(store.fetch(layout.SIMILARITY_CSV).read_bytes())
    monkeypatch.chdir(csv.parent)
    made = create_duplicates_gallery("renamed.csv")
    assert made == str(tmp_path / "elsewhere" / "duplicates.html")
    assert Page(made).text.count("exact copy") == 1
    assert "60 × 42" in Page(made).text


def test_the_outliers_gallery_has_the_farthest_first(store):
    made = Page(create_outliers_gallery(store.fetch(layout.OUTLIERS_CSV)))
    assert made.pictures == [shown_name(index) for index in (7, 8, 9, 0)]
    made = Page(create_outliers_gallery(work_dir=store.location, descending=False))
    assert made.pictures == [shown_name(index) for index in (9, 0, 7, 8)]


def test_the_components_gallery_has_the_largest_first(store):
    path = create_components_gallery(store.location, num_images=2)
    assert path == os.path.join(store.location, "components.html")
    assert Page(path).pictures == [shown_name(index) for index in (0, 1, 2, 3, 4)]
    made = Page(create_components_gallery(store.location, num_images=1, descending=False))
    assert made.pictures == [shown_name(3), shown_name(4)]


def test_galleries_of_nothing_say_so(store, photos):
    write_pairs(store, layout.SIMILARITY_CSV, encoded(photos), [])
    assert "There are none." in Page(create_duplicates_gallery(work_dir=store.location)).text


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ({}, ConfigError, "similarity_file is missing"),
        ({"similarity_file": "no/such.csv"}, FileNotFoundError, "'such.csv' is not in"),
        ({"work_dir": "no"}, FileNotFoundError, "'similarity.csv' is not in"),
        ({"work_dir": "out", "num_images": 0}, ConfigError, "num_images=0 is not possible"),
        ({"work_dir": "out", "num_images": "5"}, ConfigError, "num_images='5' is not possible"),
        ({"similarity_file": "out/features.dat.csv"}, DamagedError, "should have the header from,to,distance"),
        ({"similarity_file": "empty.csv"}, DamagedError, "empty.csv is damaged"),
        ({"similarity_file": "words.csv"}, DamagedError, "should hold numbers only"),
        ({"work_dir": "out", "save_path": "empty.csv"}, ConfigError, "save_path"),
    ],
)
def test_errors_are_one_line_that_says_what_to_do(store, tmp_path, monkeypatch, arguments, error, text):
    monkeypatch.chdir(tmp_path)
    Path("empty.csv").touch()
    Path("words.csv").write_text("from,to,distance\na,b,near\n")
    with pytest.raises(error, match=re.escape(text)) as raised:
        create_duplicates_gallery(**arguments)
    assert "\n" not in str(raised.value)


def test_components_need_a_run_that_made_them(store):
    store.remove(layout.COMPONENTS)
    with pytest.raises(FileNotFoundError, match=r"'components\.parquet' is not in"):
        create_components_gallery(store.location)


def decoded(thumbnail):
    return Image.open(io.BytesIO(base64.b64decode(thumbnail.data_uri.split(",", 1)[1])))


def test_a_thumbnail_is_upright_on_white_and_in_proportion(tmp_path):
    turned = Image.new("RGB", (1600, 800), "red")
    exif = Image.Exif()
    exif[0x0112] = 6
    turned.save(tmp_path / "turned.jpg", exif=exif)
    thumbnail = make_thumbnail(str(tmp_path / "turned.jpg"))
    assert decoded(thumbnail).size == (thumbnail.width, thumbnail.height) == (MAX_SIDE // 2, MAX_SIDE)
    assert (thumbnail.facts.width, thumbnail.facts.height, thumbnail.facts.format) == (800, 1600, "JPEG")

    Image.new("RGBA", (20, 10), (0, 0, 0, 0)).save(tmp_path / "clear.png")
    clear = decoded(make_thumbnail(str(tmp_path / "clear.png")))
    assert clear.size == (20, 10) and clear.getpixel((5, 5)) == (255, 255, 255)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16", "I", "F"])
def test_every_kind_of_picture_has_a_thumbnail(tmp_path, mode):
    path = tmp_path / "picture.tif"
    Image.new(mode, (400, 30)).save(path)
    assert decoded(make_thumbnail(str(path))).size == (MAX_SIDE, 24)


@pytest.mark.parametrize("content", [b"", b"words", b"\xff\xd8\xff\xe0", b"\x89PNG\r\n\x1a\n"])
def test_what_is_no_picture_has_a_placeholder(tmp_path, content):
    (tmp_path / "bad.jpg").write_bytes(content)
    thumbnail = make_thumbnail(str(tmp_path / "bad.jpg"))
    assert not thumbnail.data_uri and thumbnail.problem
    assert thumbnail.facts.size == len(content)


def test_a_truncated_or_huge_picture_has_a_placeholder(tmp_path, photos):
    data = Path(photos[10]).read_bytes()
    (tmp_path / "half.jpg").write_bytes(data[: len(data) // 2])
    assert not make_thumbnail(str(tmp_path / "half.jpg")).data_uri
    huge = make_thumbnail(photos[10], max_pixels=100)
    assert not huge.data_uri and huge.problem == "more than 100 pixels"
    assert not make_thumbnail(str(tmp_path)).data_uri


def test_the_histogram_counts_every_pair():
    histogram = make_histogram(np.array([0.86, 0.9, 0.9, 1.0]), {"threshold": 0.85})
    assert (histogram.low, histogram.high, histogram.most) == (0.85, 1.0, 2)
    assert len(histogram.bars) == 3
    assert histogram.marks[0].x == 0 and histogram.marks[0].text == "threshold 0.85"
    assert len(make_histogram(np.array([1.0, 1.0]), {}).bars) == 1


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 bytes"), (999, "999 bytes"), (12_345, "12.3 kB"), (999_600, "1 MB"), (5_000_000_000, "5 GB")],
)
def test_sizes_are_said_as_people_do(size, text):
    assert in_bytes(size) == text


def test_a_notebook_shows_the_gallery(store, tmp_path):
    """In the kernel's own shell; a shell on a terminal and plain Python show nothing."""
    pytest.importorskip("IPython")
    from IPython.core.interactiveshell import InteractiveShell
    from IPython.utils.capture import capture_output

    shell = InteractiveShell.instance()
    try:
        with capture_output() as captured:
            path = create_duplicates_gallery(work_dir=store.location)
        (shown,) = [output.data["text/html"] for output in captured.outputs]
        frame = re.search(r'<iframe srcdoc="([^"]*)" sandbox=""', shown)
        (attributes,) = (dict(attrs) for tag, attrs in parsed_tags(shown) if tag == "iframe")
        assert frame and attributes["srcdoc"] == Path(path).read_text(encoding="utf-8")
        shell.display_formatter.active_types = ["text/plain"]
        with capture_output() as captured:
            create_duplicates_gallery(work_dir=store.location)
        assert captured.outputs == [] and captured.stdout == ""
    finally:
        InteractiveShell.clear_instance()


def parsed_tags(html):
    tags = []
    parser = HTMLParser()
    parser.handle_starttag = lambda tag, attrs: tags.append((tag, attrs))
    parser.feed(html)
    return tags
