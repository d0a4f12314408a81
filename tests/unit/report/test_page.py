"""What the report is made of, without a browser: its data, its bounds, and that it is a file that asks for nothing."""

import base64
import hashlib
import json
import re
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastdup_ray import make_plan
from fastdup_ray.common import csv_columns, layout
from fastdup_ray.common.access import DEFAULT_ACCESS
from fastdup_ray.common.formulas import FORMULA
from fastdup_ray.curation.plan_rows import SIDECAR
from fastdup_ray.errors import DamagedError
from fastdup_ray.outputs.run_identity import digest_images
from fastdup_ray.outputs.summary import write_summary
from fastdup_ray.report import (
    bad_files,
    embedding_map,
    group_cards,
    image_issues,
    image_table,
    page,
    page_data,
    pair_lists,
)
from fastdup_ray.report.histogram import make_histogram
from fastdup_ray.report.page import write_report
from fastdup_ray.report.pair_lists import read_pair_list, read_shown_pairs
from fastdup_ray.report.rendering import iter_json
from fastdup_ray.storage import open_store
from fastdup_ray.storage.checked_json import read_json
from fastdup_ray.storage.csv_files import iter_csv, read_csv
from fastdup_ray.storage.tables import encode_names
from tests.helpers.odd_report import BAD, COMPONENT, NAMES, make_odd, write_odd_report
from tests.helpers.pages import Made, group_rows, write_finished, write_pairs

SCRIPT = Path(page.__file__).parent / "script"


@pytest.fixture(scope="module")
def odd(tmp_path_factory):
    return make_odd(tmp_path_factory.mktemp("odd"))


@pytest.fixture(scope="module")
def made(odd):
    return Made(write_odd_report(odd[0]))


def again(store, **options):
    write_report(store, read_json(store, layout.SUMMARY), **options)
    return Made(store.fetch(layout.REPORT))


def test_the_page_is_one_file_that_allows_its_own_style_and_script_only(made):
    style = re.search(r"<style>(.*?)</style>", made.source, re.DOTALL)[1]
    script = re.search(r'<script type="module">(.*?)</script>', made.source, re.DOTALL)[1]
    digest = {name: hash_of(text) for name, text in (("style", style), ("script", script))}
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', made.source)[1].replace("&#39;", "'")
    assert policy == (
        f"default-src 'none'; img-src data:; style-src 'sha256-{digest['style']}'; "
        f"script-src 'sha256-{digest['script']}'; base-uri 'none'; form-action 'none'"
    )
    assert "url(" not in style
    assert "@import" not in style
    assert not re.search(r"^(import|export)\b", script, re.MULTILINE)
    assert not re.search(r"innerHTML|insertAdjacent|document\.write|\beval\b|new Function", script)
    assert made.source.count("<script") == 3
    links = re.findall(r'(?:href|src)="([^"]*)"', made.source.replace(script, ""))
    assert all(link.startswith(("data:", "#")) for link in links)


def hash_of(text):
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def test_every_module_is_on_a_page():
    assert {*page.MODULES, *embedding_map.MODULES} == {path.name for path in SCRIPT.glob("*.js")}


@pytest.mark.parametrize("modules", [page.MODULES, embedding_map.MODULES])
def test_modules_are_whole_and_their_names_are_their_own(modules):
    """They become one script: each after those that it imports, and no name twice."""
    names = []
    for place, name in enumerate(modules):
        text = (SCRIPT / name).read_text(encoding="utf-8")
        assert set(re.findall(r'from "\./(.*?)"', text)) <= set(modules[:place]), name
        names += re.findall(r"^(?:export )?(?:async )?(?:const|let|function|class) (\w+)", text, re.MULTILINE)
        assert len(text.splitlines()) <= 300, name
    assert len(names) == len(set(names))


def test_json_in_a_script_ends_no_script():
    texts = ["</script><!--<script>", "a & b", "\u2028\u2029", 'quo"te\\']
    for content in (texts, {"</script>": {"&": texts, "<none>": {}}, "last": None}):
        text = "".join(iter_json(content))
        assert not re.search("[<>&\u2028\u2029]", text)
        assert json.loads(text) == content


def test_names_come_whole_and_what_is_not_utf_8_with_its_bytes(made, odd):
    _, paths = odd
    for row, path in enumerate(paths):
        name = made.data["pictures"]["folders"][made.of(row, "folder")] + made.of(row, "base")
        if "latin" in path:
            assert name.endswith(r"latin-\xe9,.jpg")
            assert bytes.fromhex(made.of(row, "hex")).endswith(b"latin-\xe9,.jpg")
        else:
            assert name == path
            assert made.of(row, "hex") == ""


def test_a_group_has_its_keeper_its_reason_and_its_strangers(made, odd):
    store, _ = odd
    features = np.fromfile(store.fetch(layout.FEATURES), "<f4").reshape(len(NAMES), -1).astype(float)
    groups, plan = made.lists["groups"]["items"], make_plan(store.location, "-").rows
    assert [sorted(made.rows(group)) for group in groups] == [[0, 1, 2, 3], [4, 5, 6], [9, 10, 11], [7, 8]]
    for group in groups:
        rows = made.rows(group)
        cosines = features[rows] @ features[rows].T
        assert group["lowest"] == pytest.approx(cosines.min(), abs=2e-6)
        assert group["similarity"] == pytest.approx([1.0, *cosines[0, 1:]], abs=2e-6)
        a, b = group["least_similar"]
        assert cosines[a, b] == pytest.approx(cosines.min(), abs=2e-6)
        assert group["similarity"][1:] == sorted(group["similarity"][1:], reverse=True)
        assert group["reclaim"] == sum(row.size for row in plan if row.is_dropped and row.group == group["id"])
    assert made.rows(groups[0])[0] == 3
    assert groups[0]["reason"] == "most pixels: 90 × 49"
    assert made.rows(groups[3])[0] == 8
    assert "reference" in groups[3]["reason"]
    assert made.of(8, "fixed") == image_table.explain_fixed("", DEFAULT_ACCESS, is_reference=True)
    assert groups[0]["exact"] == 1
    assert groups[1]["exact"] == 1
    assert groups[2]["exact"] == 0


def test_a_group_has_the_similarities_of_its_first_images_to_each_other(made, odd):
    features = np.fromfile(odd[0].fetch(layout.FEATURES), "<f4").reshape(len(NAMES), -1).astype(float)
    for group in made.lists["groups"]["items"]:
        rows = made.rows(group)[1:]
        cosines = (features[rows] @ features[rows].T)[np.triu_indices(len(rows), 1)]
        assert group["between"] == pytest.approx(cosines.tolist(), abs=2e-6)


def test_the_fold_has_what_was_changed_first(made):
    captions = re.findall(r"<caption>(.*?)</caption>", made.source)
    assert captions[:2] == ["Changed parameters", "Other parameters"]
    changed = made.source.split("<caption>Other parameters")[0]
    assert ">input_dir<" in changed
    assert ">threshold<" not in changed  # it has its default


def test_exact_copies_share_a_thumbnail_and_say_which_kind(made):
    copies = made.lists["exact"]["items"]
    assert [sorted(made.rows(item)) for item in copies] == [[0, 1], [4, 6]]
    assert [item["kind"][1] for item in copies] == ["bytes", "pixels"]
    assert made.of(0, "thumb") == made.of(1, "thumb") >= 0
    assert made.of(NAMES.index("gone.jpg"), "problem") == "the file does not exist"
    assert made.lists["bad"]["items"] == [list(row) for row in BAD]


def test_bytes_to_reclaim_are_those_of_files_that_can_go(tmp_path):
    """Neither of references nor of what is inside of a video."""
    paths = [str(tmp_path / name) for name in ("a.jpg", "b.jpg", "clip.mp4#t=1.000", "clip.mp4#t=2.000", "c", "d", "e")]
    store = write_finished(
        tmp_path / "out",
        paths,
        component=[0, 0, 1, 1, 2, 2, 2],
        size=[10, 30, 500, 500, 7, 90, 90],
        sha256=[f"{content:064}" for content in (0, 0, 1, 1, 2, 2, 2)],
        reference=[False] * 5 + [True, True],
    )
    made = again(store)
    assert {group["id"]: group["reclaim"] for group in made.lists["groups"]["items"]} == {0: 10, 1: 0, 2: 7}
    assert made.of(3, "fixed") == image_table.explain_fixed(paths[3], DEFAULT_ACCESS, is_reference=False) != ""
    assert made.data["reclaim"] == 17


def test_no_thumbnails_no_pictures(odd, tmp_path):
    store, _ = odd
    made = again(store, thumbnails=False)
    assert made.thumbnails == []
    assert "data:image" not in made.source
    assert set(made.data["pictures"]["problem"]) == {image_table.LEFT_OUT}
    again(store)


def test_changes_are_the_same_in_blocks(odd, made, monkeypatch):
    store, _ = odd
    monkeypatch.setattr(page_data, "iter_csv", lambda *args: (row for block in iter_csv(*args) for row in split(block)))
    assert again(store).lists["changes"] == made.lists["changes"]


def split(block):
    return (block.slice(row, 1) for row in range(len(block)))


def test_what_has_no_room_is_told(odd, monkeypatch):
    """Bounds of numbers and of bytes: the page says how much there is, and where all of it stands."""
    store, _ = odd
    for name, limit in (("MAX_GROUPS", 2), ("MAX_EXACT_SETS", 1), ("MAX_PAIRS", 3), ("MAX_OUTLIERS", 1)):
        monkeypatch.setattr(page_data, name, limit)
    monkeypatch.setattr(bad_files, "MAX_BAD_FILES", 1)
    monkeypatch.setattr(page_data, "MAX_CHANGES_OF_KIND", 1)
    monkeypatch.setattr(image_table, "MAX_THUMBNAILS", 3)
    monkeypatch.setattr(image_issues, "MAX_SHOWN", 1)
    made = again(store)
    assert {kind["id"]: (len(kind["items"]), kind["total"]) for kind in made.lists["issues"]["kinds"]}["blurred"] == (
        1,
        2,
    )
    shown = {name: (len(found["items"]), found["total"]) for name, found in made.lists.items() if name != "issues"}
    assert shown == {
        **{"groups": (2, 4), "exact": (1, 2), "pairs": (3, 6), "outliers": (1, 2)},
        **{"bad": (1, 2), "changes": (4, 6)},
    }
    assert made.lists["groups"]["file"] == "connected_components.csv"
    assert made.lists["pairs"]["file"] == "similarity.csv"
    assert made.lists["bad"]["file"] == "features.bad.csv"
    assert len(made.thumbnails) == 3
    assert image_table.NO_ROOM in made.data["pictures"]["problem"]


def test_the_page_stays_within_its_bytes(odd, monkeypatch):
    store, _ = odd
    monkeypatch.setattr(page_data, "MAX_CHARACTERS", 12_000)
    made = again(store)
    assert 0 < len(made.thumbnails) < 11
    facts = [made.data["pictures"], made.data["lists"], made.data["thumbnails"]]
    assert len(json.dumps(facts)) + sum(map(len, made.thumbnails)) < 13_000


def test_a_large_group_has_its_ends_and_says_how_many_are_left_out(tmp_path, monkeypatch):
    n = 400
    monkeypatch.setattr(group_cards, "MAX_MEMBERS", 100)
    paths = [str(tmp_path / f"{row}.jpg") for row in range(n)]
    store = write_finished(tmp_path / "out", paths, component=[0] * n, features=group_rows([0] * n, 1.5))
    made = again(store, thumbnails=False)
    (group,) = made.lists["groups"]["items"]
    assert group["count"] == n
    assert 50 <= len(group["members"]) <= 60
    features = np.fromfile(store.fetch(layout.FEATURES), "<f4").reshape(n, -1).astype(float)
    assert group["lowest"] == pytest.approx((features @ features.T).min(), abs=2e-6)
    assert group["similarity"][-1] == pytest.approx((features @ features[made.rows(group)[0]]).min(), abs=2e-6)


def test_the_plan_that_the_script_writes_is_that_of_the_command(made, odd):
    assert made.data["plan"] == {
        "format": layout.PLAN_JSON_FORMAT,
        "columns": list(csv_columns.PLAN_HEADER),
        "by_hand": csv_columns.BY_HAND,
        "sidecar": SIDECAR,
        "held": 0,
        "file": layout.PLAN_CSV,
        "texts": ["etag", "reason", "rule"],
        "formula": FORMULA,
        "run": digest_images(odd[0]),
        "work_dir": odd[0].location,
    }


def test_it_is_made_of_little(tmp_path):
    """No pairs, outliers, bad files or groups, and a summary with next to nothing."""
    store = write_finished(tmp_path / "out", [str(tmp_path / "a.jpg")], component=[0])
    store.remove(layout.COMPONENTS)
    store.remove(layout.EXACT_COPIES_CSV)
    write_report(store, write_summary(store, {"d": 16, "features_file": layout.FEATURES, "counts": {}}))
    made = Made(store.fetch(layout.REPORT))
    assert "groups" not in made.lists
    assert made.lists["pairs"]["items"] == []
    assert "Histogram" not in made.source


def test_other_metrics_have_no_cosine_thresholds(tmp_path):
    paths = [str(tmp_path / f"{row}.jpg") for row in range(2)]
    config = {"distance": "squared_euclidean"}
    store = write_finished(tmp_path / "out", paths, pairs=[(0, 1, 0.1)], component=[0, 0], config=config)
    made = again(store, thumbnails=False)
    assert "1 pairs by squared euclidean distance" in made.source
    assert 'class="mark"' not in made.source
    assert made.data["cosine"] is False
    assert made.data["measure"] == "squared euclidean distance"


def test_the_histogram_counts_every_pair():
    histogram = make_histogram(np.array([0.86, 0.9, 1.0]), np.array([1, 2, 1]), {"threshold": 0.85})
    assert (histogram.low, histogram.high, histogram.most) == (0.85, 1.0, 2)
    assert [bar.height for bar in histogram.bars] == [50, 100, 50]
    assert histogram.marks[0].x == 0
    assert histogram.marks[0].text == "threshold 0.85"
    assert len(make_histogram(np.array([1.0]), np.array([2]), {}).bars) == 1


def test_component_numbers_are_not_mixed_up(odd, made):
    for group in made.lists["groups"]["items"]:
        assert {COMPONENT[row] for row in made.rows(group)} == {group["id"]}


def test_pairs_of_images_that_the_run_did_not_see_are_refused(tmp_path):
    store = write_finished(tmp_path / "out", [str(tmp_path / "a.jpg"), str(tmp_path / "b.jpg")], component=[0, 0])
    from fastdup_ray.storage.tables import encode_names

    names = encode_names([str(tmp_path / "a.jpg"), str(tmp_path / "stranger.jpg")])
    write_pairs(store, layout.SIMILARITY_CSV, names, [(0, 1, 0.9)])
    with pytest.raises(DamagedError, match=r"similarity\.csv"):
        again(store)


_LETTERS = ["é,", '"', "c", "\n", "e", "f"]


@given(
    rows=st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5), st.sampled_from([0.9, 0.95, 1.0]))),
    block=st.sampled_from([1, 7, 1000]),
    limit=st.integers(0, 5),
)
def test_a_list_read_part_by_part_is_told_as_a_whole_one(rows, block, limit):
    """(a, b) and (b, a) have one value, as the cosines of the same two rows have."""
    value = {frozenset(row[:2]): row[2] for row in rows}
    rows = sorted({(a, b, value[frozenset((a, b))]) for a, b, _ in rows}, key=lambda row: (-row[2], row))
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        store = open_store(folder)
        write_pairs(store, "list.csv", encode_names(_LETTERS), rows)
        path = store.fetch("list.csv")
        table = read_csv(path, csv_columns.PAIRS_HEADER)
        blocks = [batch for start in range(0, len(rows), block) for batch in table.slice(start, block).to_batches()]
        patch.setattr(pair_lists, "iter_csv", lambda *_: iter(blocks))
        listed = read_pair_list(path, csv_columns.PAIRS_HEADER, limit, each_once=True)
        all_rows = read_pair_list(path, csv_columns.PAIRS_HEADER, limit, each_once=False)
        shown = [read_shown_pairs(path, limit, from_end=from_end) for from_end in (False, True)]
    once = list({frozenset(row[:2]): row for row in reversed(rows)}.values())[::-1]
    once.sort(key=rows.index)
    assert (listed.total, all_rows.total) == (len(once), len(rows))
    assert [pairs.total for pairs in shown] == [len(once)] * 2
    assert _list_rows(listed.first["from"], listed.first["to"]) == [row[:2] for row in once[:limit]]
    for pairs, expected in zip(shown, (once[:limit], once[::-1][:limit]), strict=True):
        ends = (pairs.names.take(pa.array(end)) for end in (pairs.pairs.source, pairs.pairs.target))
        assert _list_rows(*ends) == [row[:2] for row in expected]
        assert pairs.pairs.value.tolist() == [row[2] for row in expected]
        assert pairs.slope == (-1 if rows and rows[0][2] > rows[-1][2] else 0)
    assert sorted(np.repeat(listed.values, listed.counts)) == sorted(row[2] for row in once)


def _list_rows(first: pa.Array, second: pa.Array) -> list[tuple[int, int]]:
    """Pairs of indices in `_LETTERS`."""
    ends = ([_LETTERS.index(name.decode()) for name in names.to_pylist()] for names in (first, second))
    return list(zip(*ends, strict=True))
