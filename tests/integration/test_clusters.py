"""`clusters` on a finished run, its page, and the pages that use it."""

import csv
import re
import shutil
from pathlib import Path

import pytest

import fastdup_ray as fastdup
from fastdup_ray.errors import ConfigError, DamagedError, InputError, WorkDirError
from tests.helpers.commands import call
from tests.helpers.images import save_cloudy
from tests.helpers.pages import write_finished

COMPONENT = [0] * 4 + [1] * 3 + [2] * 2
LABELS = ["=a", "=a", "=a", "<i>b", "<i>b", "<i>b", None, None, None]
"""One image of the first group has the label of the second one."""


@pytest.fixture
def out(tmp_path) -> Path:
    paths = save_cloudy(tmp_path / "in", len(COMPONENT))
    write_finished(tmp_path / "out", paths, component=COMPONENT, label=LABELS)
    return tmp_path / "out"


def read_rows(path: str | Path) -> list[dict[str, str]]:
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_each_image_has_its_cluster_and_the_label_of_most_of_it(out):
    made = fastdup.cluster_images(out, 3)
    rows = read_rows(made.path)
    assert made.path == str(out / "clusters.csv")
    assert [row["filename"] for row in rows] == fastdup.RunResult.open(out).images["filename"].to_pylist()
    assert [int(row["cluster"]) for row in rows] == COMPONENT
    assert all(0.9 < float(row["similarity"]) <= 1 for row in rows)
    assert [row["label"] for row in rows[:4]] == ["'=a", "'=a", "'=a", "<i>b"]  # no formula for a spreadsheet
    assert [row["cluster_label"] for row in rows] == ["'=a"] * 4 + ["<i>b"] * 3 + [""] * 2
    assert (made.clusters, made.images, made.largest, made.labelled, made.minority) == (3, 9, 4, 6, 1)
    assert made.purity == pytest.approx(5 / 6)
    first = Path(made.path).read_bytes()
    assert Path(fastdup.cluster_images(out, 3).path).read_bytes() == first


def test_the_page_shows_the_typical_images_and_those_with_another_label(out, tmp_path):
    fastdup.cluster_images(out, 3)
    page = Path(fastdup.create_clusters_gallery(out, tmp_path / "pages"))
    assert page.name == "clusters.html"
    text = page.read_text()
    parts = re.split("<article", text)[1:]
    assert [re.search(r"Cluster #(\d+) · (\d+) images", part).groups() for part in parts] == [
        *(("0", "4"), ("1", "3"), ("2", "2"))
    ]
    assert "3 of 4 labels (75 %)" in parts[0]
    assert "With another label" in parts[0]
    assert parts[0].count("data:image/") == 5
    assert parts[0].count("&lt;i&gt;b") == 2
    assert "With another label" not in parts[1] + parts[2]
    assert "labels" not in parts[2]
    assert "<i>" not in text
    smallest = Path(fastdup.create_clusters_gallery(out, tmp_path / "pages", 1, descending=False, thumbnails=False))
    text = smallest.read_text()
    assert "Cluster #2" in text
    assert "Cluster #1" not in text
    assert "data:image/" not in text


def test_the_command_writes_both_and_the_pages_go_on_with_them(finished, tmp_path, capsys):
    out = Path(shutil.copytree(finished, tmp_path / "out"))
    assert call("clusters", out) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(f"Wrote {out}/clusters.csv: 4 clusters of 33 images")
    assert lines[1] == f"Gallery: {out}/clusters.html"
    assert call("clusters", out, "-k", 2, "-o", "-") == 0
    assert len(capsys.readouterr().out.splitlines()) == 34
    assert call("gallery", out, "--map", "pca", "--save-path", tmp_path / "pages") == 0
    assert (tmp_path / "pages/clusters.html").exists()
    assert "Cluster #3" in (tmp_path / "pages/map.html").read_text()
    lines = (out / "clusters.csv").read_text().splitlines()
    (out / "clusters.csv").write_text("\n".join(lines[:-1]) + "\n")
    assert call("gallery", out, "--map", "pca", "--save-path", tmp_path / "others") == 0
    assert not (tmp_path / "others/clusters.html").exists()
    assert "Cluster #" not in (tmp_path / "others/map.html").read_text()


def test_mistakes_are_one_line(out, tmp_path):
    with pytest.raises(InputError, match="cluster them first"):
        fastdup.create_clusters_gallery(out)
    for k in (0, -1, 2.5, True, "3"):
        with pytest.raises(ConfigError, match="Invalid value for k"):
            fastdup.cluster_images(out, k)
    with pytest.raises(InputError, match="No finished run"):
        fastdup.cluster_images(tmp_path)
    mine = tmp_path / "mine.csv"
    mine.write_text("mine")
    with pytest.raises(WorkDirError):
        fastdup.cluster_images(out, save_path=mine)
    assert mine.read_text() == "mine"


@pytest.mark.parametrize("cell", ["-1", "9", "1e9", "x", ""])
def test_a_file_with_other_numbers_is_damaged(out, cell):
    path = Path(fastdup.cluster_images(out, 3).path)
    path.write_text(re.sub(r",2,", f",{cell},", path.read_text()))
    with pytest.raises(DamagedError):
        fastdup.create_clusters_gallery(out)
