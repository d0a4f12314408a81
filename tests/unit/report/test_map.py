"""map.html: what its points are, on a work_dir with hostile names."""

import os
import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from fastdup_ray import create_embedding_map
from fastdup_ray.errors import ConfigError, InputError, WorkDirError
from fastdup_ray.report import embedding_map
from fastdup_ray.report.map_colors import make_coloring
from tests.helpers.odd_report import COMPONENT, GONE, NAMES, make_odd
from tests.helpers.pages import Made


class Map(Made):
    """A map, and the JSON in it."""

    def __init__(self, path):
        self.source = Path(path).read_text(encoding="utf-8")
        self.data, self.thumbnails = self._json("data"), self._json("thumbnails")

    def coloring(self, title):
        """Return the category of each point in words."""
        (found,) = [each for each in self.data["colorings"] if each["title"] == title]
        names = [*found["names"], found["others"]]
        return [found["none"] if category < 0 else names[category] for category in found["of"]]


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return make_odd(tmp_path_factory.mktemp("odd"))[0]


@pytest.fixture
def made(store, tmp_path):
    return Map(create_embedding_map(store.location, tmp_path))


def test_each_image_is_a_point_with_its_name_thumbnail_and_facts(made):
    pictures = made.data["pictures"]
    assert pictures["row"] == list(range(len(NAMES)))
    folders = [pictures["folders"][folder] for folder in pictures["folder"]]
    paths = [folder + base for folder, base in zip(folders, pictures["base"], strict=True)]
    assert paths[10].endswith("/Plain.JPG")
    assert pictures["label"][3] == "<u>3"
    assert pictures["thumb"][GONE] == -1
    assert pictures["problem"][GONE] == "the file does not exist"
    assert len(made.thumbnails) == len(NAMES) - 1
    assert all(uri.startswith("data:image/") for uri in made.thumbnails)


def test_similar_images_are_near_each_other(made):
    places = np.stack([made.data["x"], made.data["y"]], axis=1)
    assert places.min() == 0
    assert places.max() == 10_000
    assert places[0].tolist() == places[1].tolist()  # the same bytes
    same = np.linalg.norm(places[4] - places[5])
    assert same < np.linalg.norm(places[4] - places[12])


def test_points_are_colored_by_relation_group_label_and_outlier(made):
    relation = made.coloring("Relation")
    assert relation[1] == "same bytes"
    assert relation[12] == relation[13] == "no duplicate"
    assert relation.count("similar") == 4
    assert made.coloring("Group") == [
        f"Group #{number}" if COMPONENT.count(number) > 1 else "in no group" for number in COMPONENT
    ]
    labels = made.coloring("Label")
    assert labels.count("4 other labels") == 4
    assert set(labels) < {f"<u>{row}" for row in range(len(NAMES))} | {"4 other labels"}
    assert [row for row, name in enumerate(made.coloring("Outlier")) if name == "outlier"] == [12, 13]


def test_the_most_frequent_values_have_colors_of_their_own():
    values = pa.array(["rare", "b", "b", None, "a", "a", *(f"c{number}" for number in range(9))])
    coloring = make_coloring("Label", "labels", "no label", values)
    assert coloring.names == ["a", "b", *(f"c{number}" for number in range(8))]
    assert coloring.of.tolist() == [10, 1, 1, -1, 0, 0, *range(2, 10), 10]
    assert coloring.others == "2 other labels"
    assert make_coloring("Label", "labels", "no label", pa.array(["a", "b"])).others == ""


def test_names_are_text(made):
    head, _, rest = made.source.partition('<script type="application/json" id="data">')
    assert not any(name in head for name in ("onerror", "<u>", "\u202e"))
    assert re.findall("</?script[^>]*>", rest) == [
        *("</script>", '<script type="application/json" id="thumbnails">', "</script>"),
        *('<script type="module">', "</script>"),
    ]
    assert "img-src data:; " in made.source
    assert "http" not in re.sub(r"http-equiv|http://www\.w3\.org/2000/svg", "", made.source)


def test_without_a_script_there_is_a_picture(made):
    picture = made.source.partition("<noscript>")[2].partition("</noscript>")[0]
    places = set(zip(made.data["x"], made.data["y"], strict=True))
    assert len(re.findall(r"M\d+ \d+h0", picture)) == len(places)


def test_the_map_is_the_same_each_time(made, store, tmp_path):
    assert Map(create_embedding_map(store.location, tmp_path)).source == made.source


def test_many_images_are_sampled(store, tmp_path, monkeypatch):
    monkeypatch.setattr(embedding_map, "MAX_POINTS", 6)
    monkeypatch.setattr(embedding_map, "MAX_THUMBNAILS", 4)
    monkeypatch.setattr("fastdup_ray.report.image_table.MAX_THUMBNAILS", 4)
    made = Map(create_embedding_map(store.location, tmp_path))
    rows = made.data["pictures"]["row"]
    assert rows == sorted(rows)
    assert len(rows) == 6
    assert "6 of 14 images" in made.source
    names = [made.data["pictures"]["base"][point] for point in range(6)]
    assert [name == os.path.basename(NAMES[row]) for name, row in zip(names, rows, strict=True)].count(True) >= 4
    assert len(made.thumbnails) <= 4
    assert "too many for one file; fastdup-ray serve shows it" in made.data["pictures"]["problem"]


def test_private_images_stay_out(store, tmp_path):
    made = Map(create_embedding_map(store.location, tmp_path, thumbnails=False))
    assert made.thumbnails == []
    assert set(made.data["pictures"]["thumb"]) == {-1}


def test_mistakes_are_one_line_and_replace_nothing(store, tmp_path):
    with pytest.raises(ConfigError, match="must be one of pca, umap"):
        create_embedding_map(store.location, tmp_path, "tsne")
    with pytest.raises(InputError, match="No finished run"):
        create_embedding_map(tmp_path, tmp_path)
    (tmp_path / "map.html").write_text("mine")
    with pytest.raises(WorkDirError):
        create_embedding_map(store.location, tmp_path)
    assert (tmp_path / "map.html").read_text() == "mine"
