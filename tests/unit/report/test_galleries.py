"""The galleries, on a work_dir made by hand: its pictures have hostile names, and one is gone."""

import base64
import hashlib
import io
import json
import os
import re
from functools import partial
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from fastdup_ray.common import layout
from fastdup_ray.common.formatting import format_bytes
from fastdup_ray.common.names import escape_invisible
from fastdup_ray.errors import ConfigError, DamagedError, WorkDirError
from fastdup_ray.extract.thumbnails import MAX_SIDE, make_thumbnail
from fastdup_ray.report import image_galleries
from fastdup_ray.report.galleries import (
    create_components_gallery,
    create_duplicates_gallery,
    create_outliers_gallery,
    generate_duplicates_gallery,
)
from fastdup_ray.report.image_galleries import METRICS, create_similarity_gallery, create_stats_gallery
from fastdup_ray.storage import open_store
from fastdup_ray.storage.tables import encode_names
from tests.helpers.pages import CONFIG, write_finished, write_pairs

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
COPIES = [(1, 0, "bytes"), (4, 3, "pixels")]
BAD = [("<b>bad</b>.jpg", "TRUNCATED", "image file is <i>truncated</i>"), ("no.jpg", "MISSING", "not there")]


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
            attributes["alt"] if tag == "img" else attributes["aria-label"].removesuffix(": no preview")
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
    return write_finished(
        tmp_path / "out",
        photos,
        pairs=PAIRS,
        outliers=OUTLIERS,
        component=COMPONENTS,
        copies=COPIES,
        bad=BAD,
        height=list(range(40, 52)),
    )


def shown_name(index):
    return escape_invisible(NAMES[index])


TAGS = """
    html head meta link title style body header h1 h2 h3 p bdi dl div dt dd strong figure figcaption svg rect line text
    details summary table caption tbody thead tr th td nav a span main section code article img b br footer
"""
ATTRIBUTES = """
    lang charset http-equiv content name rel href class id src width height alt decoding role aria-label scope
    viewbox x y x1 x2 y1 y2 text-anchor
"""


def made_pages(store):
    for create in (
        *(create_duplicates_gallery, create_outliers_gallery, create_components_gallery),
        *(create_similarity_gallery, partial(create_stats_gallery, metric="size")),
    ):
        yield create(work_dir=store.location)


def test_hostile_names_are_inert_in_every_page(store):
    for path in made_pages(store):
        made = Page(path)
        assert {tag for tag, _ in made.tags} <= set(TAGS.split())
        assert {name for _, attributes in made.tags for name in attributes} <= set(ATTRIBUTES.split())
        assert "\u202e" not in made.source
        assert "49.jpg" not in made.text
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
        assert "url(" not in made.source
        assert "@import" not in made.source
        policies = [meta["content"] for meta in made.all("meta") if meta.get("http-equiv") == "Content-Security-Policy"]
        style = re.search(r"<style>(.*?)</style>", made.source, re.DOTALL)[1]
        digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
        assert policies == [
            f"default-src 'none'; img-src data:; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
        ]


def test_the_duplicates_gallery_counts_pairs_once(store, tmp_path):
    made = create_duplicates_gallery(
        store.fetch(layout.SIMILARITY_CSV), save_path=tmp_path / "new" / "gallery", num_images=3
    )
    assert made == str(tmp_path / "new" / "gallery" / "duplicates.html")
    assert Page(made).pictures == [shown_name(index) for pair in ONCE[:3] for index in pair]
    assert "first 3 of 5 pairs" in Page(made).text
    assert generate_duplicates_gallery is create_duplicates_gallery


def test_the_least_similar_come_first_without_descending(store):
    made = Page(create_duplicates_gallery(work_dir=store.location, descending=False))
    assert made.pictures == [shown_name(index) for pair in reversed(ONCE) for index in pair]


def test_the_order_of_the_file_counts_where_a_distance_rises(store, photos):
    write_pairs(store, layout.SIMILARITY_CSV, encode_names(photos), [(0, 1, 0.0), (2, 3, 0.5), (4, 5, 1.5)])
    made = Page(create_duplicates_gallery(work_dir=store.location, num_images=1))
    assert made.pictures == [shown_name(0), shown_name(1)]
    made = Page(create_duplicates_gallery(work_dir=store.location, num_images=1, descending=False))
    assert made.pictures == [shown_name(4), shown_name(5)]


@pytest.mark.parametrize(("values", "measure"), [((0.0, 0.5), "Distance"), ((0.9, 0.8), "Similarity")])
def test_the_order_of_a_csv_alone_tells_distances_from_similarities(values, measure, photos, tmp_path):
    pairs = [(0, 1, values[0]), (2, 3, values[1])]
    write_pairs(open_store(tmp_path), layout.SIMILARITY_CSV, encode_names(photos), pairs)
    write_pairs(open_store(tmp_path), layout.OUTLIERS_CSV, encode_names(photos), pairs[::-1])
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
    assert Page(made).text.count("exact duplicate") == 1
    assert "60 × 42" in Page(made).text


def test_the_outliers_gallery_has_the_farthest_first(store):
    made = Page(create_outliers_gallery(store.fetch(layout.OUTLIERS_CSV)))
    assert made.pictures == [shown_name(index) for index in (7, 8, 9, 0)]
    assert made.text.count("also an outlier") == 1  # 8 and 7 are each other's neighbors
    made = Page(create_outliers_gallery(work_dir=store.location, descending=False))
    assert made.pictures == [shown_name(index) for index in (9, 0, 7, 8)]


def test_the_components_gallery_has_the_largest_first(store):
    path = create_components_gallery(store.location, num_images=2)
    assert path == os.path.join(store.location, "components.html")
    assert Page(path).pictures == [shown_name(index) for index in (0, 1, 2, 3, 4)]
    made = Page(create_components_gallery(store.location, num_images=1, descending=False))
    assert made.pictures == [shown_name(3), shown_name(4)]


def test_the_similarity_gallery_has_each_image_with_its_neighbors(store):
    path = create_similarity_gallery(store.location)
    assert path == os.path.join(store.location, layout.SIMILARITY_HTML)
    rows = [(0, 1), (1, 0, 2), (3, 4), (4, 3), (5, 6), (10, GONE)]
    assert Page(path).pictures == [shown_name(index) for row in rows for index in row]
    made = Page(create_similarity_gallery(store.location, num_images=1, descending=False))
    assert made.pictures == [shown_name(10), shown_name(GONE)]
    assert "first 1 of 6" in made.text


def test_a_statistics_gallery_has_the_extremes_first(store):
    by_size = sorted(range(len(NAMES)), key=lambda index: -known_sizes(store)[index])
    path = create_stats_gallery(store.location, metric="size", num_images=4)
    assert path == os.path.join(store.location, "size.html")
    assert Page(path).pictures == [shown_name(index) for index in by_size[:4]]
    last = Page(create_stats_gallery(store.location, metric="size", num_images=1, descending=False))
    assert last.pictures == [shown_name(by_size[-1])]


def known_sizes(store):
    return pq.read_table(store.fetch(layout.IMAGES))["size"].to_pylist()


@pytest.mark.parametrize("arguments", [{"metric": "beauty"}, {"metric": "blur"}, {"metric": "size", "num_images": 0}])
def test_a_metric_that_the_run_has_not_measured_is_refused(store, arguments):
    with pytest.raises(ConfigError):
        create_stats_gallery(store.location, **arguments)


def test_each_metric_has_a_page_that_a_work_dir_may_have():
    assert {f"{metric}.html" for metric in METRICS} == set(layout.STATISTICS_HTML)


def test_exact_copies_are_told_from_near_ones_in_every_gallery(store):
    """By bytes and by pixels, with thumbnails or without."""
    for thumbnails in (True, False):
        pairs = Page(create_duplicates_gallery(work_dir=store.location, thumbnails=thumbnails)).source
        rows = [row for row in pairs.split("<tr>") if "exact duplicate" in row]
        assert len(rows) == 2
        assert "1.0000" in rows[0]
        assert "0.9700" in rows[1]
        groups = Page(create_components_gallery(store.location, thumbnails=thumbnails))
        figures = groups.source.split("<figure>")[1:]
        assert [number for number, figure in enumerate(figures) if "exact duplicate" in figure] == [0, 1, 3, 4]


def test_without_thumbnails_no_picture_is_in_a_gallery(store):
    """As asked, or as the run was."""
    assert "data:image" in Page(create_duplicates_gallery(work_dir=store.location)).source
    for create in (create_duplicates_gallery, create_outliers_gallery, create_components_gallery):
        assert "data:image" not in Page(create(work_dir=store.location, thumbnails=False)).source
    with store.create(layout.CONFIG) as path:
        path.write_text(json.dumps(CONFIG | {"thumbnails": False}))
    made = Page(create_components_gallery(work_dir=store.location))
    assert "data:image" not in made.source
    assert shown_name(10) in made.text
    assert "data:image" in Page(create_components_gallery(work_dir=store.location, thumbnails=True)).source


def test_galleries_of_nothing_say_so(store, photos):
    write_pairs(store, layout.SIMILARITY_CSV, encode_names(photos), [])
    assert "No duplicates." in Page(create_duplicates_gallery(work_dir=store.location)).text


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ({}, ConfigError, "similarity_file is missing"),
        ({"similarity_file": "no/such.csv"}, FileNotFoundError, "such.csv"),
        ({"work_dir": "no"}, FileNotFoundError, "similarity.csv"),
        ({"work_dir": "out", "num_images": 0}, ConfigError, "num_images: 0"),
        ({"work_dir": "out", "num_images": "5"}, ConfigError, "num_images: '5'"),
        ({"similarity_file": "out/features.dat.csv"}, DamagedError, "should have the header from,to,distance"),
        ({"similarity_file": "empty.csv"}, DamagedError, "empty.csv is damaged"),
        ({"similarity_file": "words.csv"}, DamagedError, "numbers only"),
        ({"work_dir": "out", "save_path": "empty.csv"}, WorkDirError, "empty.csv"),
        ({"work_dir": "out", "save_path": "-"}, ConfigError, "save_path: '-'"),
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
    with pytest.raises(FileNotFoundError, match=r"components\.parquet"):
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
    assert clear.size == (20, 10)
    assert clear.getpixel((5, 5)) == (255, 255, 255)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16", "I", "F"])
def test_every_kind_of_picture_has_a_thumbnail(tmp_path, mode):
    path = tmp_path / "picture.tif"
    Image.new(mode, (400, 30)).save(path)
    assert decoded(make_thumbnail(str(path))).size == (MAX_SIDE, 24)


@pytest.mark.parametrize("content", [b"", b"words", b"\xff\xd8\xff\xe0", b"\x89PNG\r\n\x1a\n"])
def test_what_is_no_picture_has_a_placeholder(tmp_path, content):
    (tmp_path / "bad.jpg").write_bytes(content)
    thumbnail = make_thumbnail(str(tmp_path / "bad.jpg"))
    assert not thumbnail.data_uri
    assert thumbnail.problem
    assert thumbnail.facts.size == len(content)


def test_only_a_file_that_cannot_be_read_is_worth_another_attempt(tmp_path, photos):
    (tmp_path / "bad.jpg").write_bytes(b"words")
    assert make_thumbnail(photos[0]).was_read
    assert make_thumbnail(str(tmp_path / "bad.jpg")).was_read
    assert not make_thumbnail(photos[GONE]).was_read


def test_a_truncated_or_huge_picture_has_a_placeholder(tmp_path, photos):
    data = Path(photos[10]).read_bytes()
    (tmp_path / "half.jpg").write_bytes(data[: len(data) // 2])
    assert not make_thumbnail(str(tmp_path / "half.jpg")).data_uri
    huge = make_thumbnail(photos[10], max_pixels=100)
    assert not huge.data_uri
    assert huge.problem == "more than 100 pixels"
    assert not make_thumbnail(str(tmp_path)).data_uri


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 bytes"), (999, "999 bytes"), (12_345, "12.3 kB"), (999_600, "1 MB"), (5_000_000_000, "5 GB")],
)
def test_sizes_are_said_as_people_do(size, text):
    assert format_bytes(size) == text


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
        assert frame
        assert attributes["srcdoc"] == Path(path).read_text(encoding="utf-8")
        shell.display_formatter.active_types = ["text/plain"]
        with capture_output() as captured:
            create_duplicates_gallery(work_dir=store.location)
        assert captured.outputs == []
        assert captured.stdout == ""
    finally:
        InteractiveShell.clear_instance()


def parsed_tags(html):
    tags = []
    parser = HTMLParser()
    parser.handle_starttag = lambda tag, attrs: tags.append((tag, attrs))
    parser.feed(html)
    return tags


@pytest.mark.parametrize("block", [1, 3, 100])
@pytest.mark.parametrize("limit", [0, 1, 4, 100])
def test_the_extremes_of_many_blocks_are_those_of_all_values(block, limit):
    values = np.array([3, np.nan, 1, 3, 2, 1, np.inf, 3, 0, 1, 2, 3], float)
    known = [row for row, value in enumerate(values) if np.isfinite(value)]
    for descending, sign in ((False, 1), (True, -1)):
        ranked = sorted(known, key=lambda row, sign=sign: sign * values[row])[:limit]
        blocks = np.split(values, range(block, len(values), block))
        found = image_galleries._find_extremes(blocks, limit, descending=descending)
        assert found.total == len(known)
        assert found.rows.tolist() == ranked
        assert found.values.tolist() == values[ranked].tolist()
