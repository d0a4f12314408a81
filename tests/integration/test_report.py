"""Reports of whole runs."""

import re

from tests.helpers.commands import summary_of
from tests.helpers.images import save_cloudy
from tests.helpers.pages import Made
from tests.helpers.runs import run_inline


def test_a_scoring_has_its_leaks_first_the_exact_ones(tmp_path):
    """Of each new picture one: its copy, or its closest among the indexed."""
    train = save_cloudy(tmp_path / "train", 6)
    (tmp_path / "test").mkdir()
    for name, source in (("copy.jpg", train[4]), ("another.jpg", train[1])):
        (tmp_path / "test" / name).write_bytes(source.read_bytes())
    save_cloudy(tmp_path / "test" / "near", 3, (70, 52))
    run_inline(tmp_path / "train", tmp_path / "out")
    result = run_inline(tmp_path / "test", tmp_path / "out", run_mode=3)
    made = Made(result.report)
    leaks = made.lists["leakage"]
    assert (leaks["exact"], leaks["of"], leaks["total"]) == (2, 5, len(leaks["items"]))
    assert [kind for _, _, _, kind in leaks["items"]][:3] == ["bytes", "bytes", ""]
    ends = [(made.data["pictures"]["base"][a], made.data["pictures"]["base"][b]) for a, b, _, _ in leaks["items"]]
    assert set(ends[:2]) == {("copy.jpg", "0004.jpg"), ("another.jpg", "0001.jpg")}
    assert len({a for a, *_ in leaks["items"]}) == len(leaks["items"])
    assert "groups" not in made.lists
    assert made.data["scored"]


def test_labels_that_differ_and_what_changed(tmp_path):
    """From a real run: labels by folder, and a second run with a picture more."""
    (tmp_path / "in" / "b").mkdir(parents=True)
    first = save_cloudy(tmp_path / "in" / "a", 3)[0]
    (tmp_path / "in" / "b" / "same.jpg").write_bytes(first.read_bytes())
    run_inline(tmp_path / "in", tmp_path / "out", labels="folder", incremental=True)
    (tmp_path / "in" / "b" / "more.jpg").write_bytes(first.read_bytes())
    result = run_inline(tmp_path / "in", tmp_path / "out", labels="folder", incremental=True, nearest_neighbors_k=4)
    made = Made(result.report)
    assert [item[4:] for item in made.lists["conflicts"]["items"]] == [["a", "b"], ["a", "b"]]
    kinds = [row[0] for row in made.lists["changes"]["items"]]
    assert kinds[0] == "image_added"
    assert "new_pair" in kinds
    assert "group_grew" in kinds
    assert made.lists["changes"]["counts"]["images_added"] == 1
    assert made.of(0, "label") == "a"


def test_its_seconds_are_those_of_the_whole_run(finished):
    """All but the last moments, in which the page itself is written."""
    html = (finished / "report/index.html").read_text(encoding="utf-8")
    told = float(re.search(r"([\d.,]+) seconds", html)[1].replace(",", ""))
    seconds = summary_of(finished)["seconds"]
    before = sum(seconds.values()) - seconds["outputs"]
    assert before + seconds["outputs"] / 4 < told + 0.05
    assert told - 0.05 < sum(seconds.values())
