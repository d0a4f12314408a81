"""The plan file: what is written comes back, what people edit is understood, what cannot be meant is refused."""

import csv
import json
import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastdup_ray.common import csv_columns
from fastdup_ray.curation.plan import Plan
from fastdup_ray.curation.plan_file import read_plan, write_plan
from fastdup_ray.curation.plan_row import PlanRow
from fastdup_ray.errors import InputError
from fastdup_ray.storage import open_store
from tests.helpers.plans import plan_from_json, plan_to_json

SHA = "ab" * 32
KEPT = PlanRow("/p/kept.jpg", "keep", 0, "", None, "bytes", "most bytes: 9,000", 9000, SHA, "", False)
GONE = PlanRow("/p/gone.jpg", "drop", 0, "/p/kept.jpg", 0.998711, "bytes", "near copy", 10, SHA, "", False)
OTHER = PlanRow("s3://bucket/x.jpg", "keep", 1, "", None, "reference", "a reference image", None, "", "5-x", True)

HOSTILE = [
    "/p/new\nline.jpg",
    '/p/"quoted", really.jpg',
    "/p/\udcff\udcfe.jpg",
    "/p/ü — 絵.jpg",
    "/p/\\xff.jpg",
    "/p/ x ",
]


def written(tmp_path, rows, name):
    write_plan(open_store(str(tmp_path)), name, rows)
    return tmp_path / name


@pytest.mark.parametrize("name", ["plan.csv", "plan.json"])
@pytest.mark.parametrize("hostile", HOSTILE)
def test_any_name_of_a_file_comes_back(name, hostile, tmp_path):
    rows = [KEPT, GONE, replace(KEPT, filename=hostile), replace(GONE, filename=hostile + "2", keeper=hostile), OTHER]
    assert read_plan(written(tmp_path, rows, name)) == rows


@pytest.mark.parametrize("name", ["plan.csv", "plan.json"])
@pytest.mark.parametrize("text", ["=cmd|' /C calc'!A0", "'=1", "+", "-rule", "@x", "\tx", "\rx", "'", "plain"])
def test_reasons_that_look_like_formulas_come_back_and_are_none_in_the_csv(name, text, tmp_path):
    rows = [replace(KEPT, rule=text, reason=text), replace(OTHER, etag=text.strip())]
    path = written(tmp_path, rows, name)
    assert read_plan(path) == rows
    if name == "plan.csv":
        with open(path, newline="") as file:
            cells = {row[column] for row in csv.DictReader(file) for column in ("rule", "reason", "etag")}
        assert not [cell for cell in cells if cell.startswith(tuple("=+-@\t\r"))]


@pytest.mark.parametrize("name", ["plan.csv", "plan.json"])
def test_a_plan_without_a_row_comes_back(name, tmp_path):
    assert read_plan(written(tmp_path, [], name)) == []


@given(st.binary(min_size=1).filter(lambda name: b"\0" not in name and b"/" not in name))
def test_names_of_any_bytes_survive_the_json(name):
    rows = [replace(KEPT, filename="/p/" + name.decode("utf-8", "surrogateescape"))]
    text = plan_to_json(rows)
    text.encode("utf-8")
    assert plan_from_json(text) == rows


def test_the_csv_has_a_row_a_picture_and_the_json_the_same_members(tmp_path):
    with open(written(tmp_path, [KEPT, GONE], "plan.csv"), newline="") as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == csv_columns.PLAN_HEADER
    assert rows[1]["action"] == "drop"
    assert rows[1]["similarity"] == "0.998711"
    assert rows[0]["similarity"] == ""
    pictures = json.loads(written(tmp_path, [KEPT, GONE], "plan.json").read_text())["pictures"]
    assert tuple(pictures[0]) == csv_columns.PLAN_HEADER
    assert pictures[1]["keeper"] == KEPT.filename
    assert pictures[0]["similarity"] is None


def test_what_a_spreadsheet_makes_of_the_file_is_read(tmp_path):
    path = written(tmp_path, [KEPT, GONE, OTHER], "plan.csv")
    with open(path, newline="") as file:
        rows = list(csv.DictReader(file))
    order = [*reversed(csv_columns.PLAN_HEADER), "my notes"]
    with open(path, "w", newline="", encoding="utf-8-sig") as file:
        sheet = csv.DictWriter(file, order, quoting=csv.QUOTE_ALL, lineterminator="\r\n", restval="?")
        sheet.writeheader()
        sheet.writerows(row | {"action": row["action"].upper()} for row in rows)
    assert read_plan(path) == [KEPT, GONE, OTHER]


def test_a_spreadsheet_whose_decimal_point_is_a_comma_writes_semicolons(tmp_path):
    path = written(tmp_path, [KEPT, replace(GONE, filename="/p/a;b, c.jpg"), OTHER], "plan.csv")
    with open(path, newline="") as file:
        rows = list(csv.DictReader(file))
    with open(path, "w", newline="", encoding="utf-8-sig") as file:
        sheet = csv.DictWriter(file, csv_columns.PLAN_HEADER, delimiter=";", lineterminator="\r\n")
        sheet.writeheader()
        sheet.writerows(row | {"similarity": row["similarity"].replace(".", ",")} for row in rows)
    assert read_plan(path) == [KEPT, replace(GONE, filename="/p/a;b, c.jpg"), OTHER]


def test_a_similarity_near_nothing_comes_back(tmp_path):
    rows = [KEPT, replace(GONE, similarity=0.000002)]
    for name in ("plan.csv", "plan.json"):
        assert read_plan(written(tmp_path, rows, name)) == rows


def test_a_person_turns_keep_and_drop_round(tmp_path):
    path = written(tmp_path, [KEPT, GONE], "plan.csv")
    path.write_text(path.read_text().replace(",drop,", ",keep,"))
    assert [row.action for row in read_plan(path)] == ["keep", "keep"]


@pytest.mark.parametrize("name", ["plan.csv", "plan.json"])
def test_an_image_that_a_person_keeps_loses_the_reason_to_drop_it(name, tmp_path):
    path = written(tmp_path, [KEPT, GONE], name)
    path.write_text(path.read_text().replace("drop", "keep"))
    kept, changed = read_plan(path)
    assert kept == KEPT
    assert (changed.action, changed.keeper, changed.similarity, changed.rule) == ("keep", "", None, "user")
    assert changed.reason != GONE.reason


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        ([KEPT, replace(GONE, reference=True)], "'/p/gone.jpg', an image of a reference input"),
        ([KEPT, replace(GONE, keeper="")], "'/p/gone.jpg' without a keeper"),
        ([GONE], "does not keep its keeper"),
        ([replace(GONE, keeper=GONE.filename)], "does not keep its keeper"),
        ([KEPT, GONE, replace(GONE, filename="/p/b.jpg", keeper="/p/gone.jpg")], "does not keep its keeper"),
        ([KEPT, KEPT], "'/p/kept.jpg' twice"),
        ([replace(KEPT, filename="kept.jpg")], "neither an absolute path nor a URI"),
        ([replace(KEPT, filename="/p/\0.jpg")], "neither an absolute path nor a URI"),
    ],
)
def test_a_plan_that_cannot_be_meant_is_refused_before_it_is_written_and_when_it_is_read(rows, told, tmp_path):
    with pytest.raises(InputError, match=re.escape(told)):
        write_plan(open_store(str(tmp_path)), "plan.csv", rows)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(InputError, match=re.escape(told)):
        Plan(rows)
    with pytest.raises(InputError):
        plan_from_json(plan_to_json(rows))


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        (",drop,", ",delete,", "action of '/p/gone.jpg' in"),
        (",10,", ",ten,", "size of"),
        (",10,", ",-1,", "size of"),
        (SHA, SHA[:-1], "sha256 of"),
        ("0.998711", "very", "similarity of"),
        ("filename,", "name,", "has no column 'filename'"),
        (",reference", "", "has no column 'reference'"),
        (",drop,0,", ",drop,first,", "group of"),
        ("/p/gone.jpg,", "/p/kept.jpg,", "is listed twice"),
        (",drop,", ",drop,drop,", "not as many cells"),
    ],
)
def test_a_cell_that_cannot_be_meant_is_named(old, new, told, tmp_path):
    path = written(tmp_path, [KEPT, GONE], "plan.csv")
    path.write_text(path.read_text().replace(old, new, 1))
    with pytest.raises(InputError, match=re.escape(told)):
        read_plan(path)


def test_a_name_that_is_listed_twice_is_named_with_its_line(tmp_path):
    path = written(tmp_path, [KEPT, replace(GONE, reason="two\nlines"), OTHER], "plan.csv")
    path.write_text(path.read_text() + path.read_text().splitlines()[1] + "\n")
    with pytest.raises(InputError, match=re.escape(f"{str(path)!r}, line 6: '/p/kept.jpg' is listed twice")):
        read_plan(path)
    content = json.loads(plan_to_json([KEPT, GONE]))
    content["pictures"].append(content["pictures"][1])
    with pytest.raises(InputError, match=re.escape("'/p/gone.jpg' twice")):
        plan_from_json(json.dumps(content))


def test_members_of_the_json_may_be_in_any_order_and_others_are_ignored(tmp_path):
    content = json.loads(plan_to_json([KEPT, GONE]))
    images = [dict(reversed(members.items())) | {"note": [1]} for members in content["pictures"]]
    text = json.dumps({"about": {"pictures": []}, "pictures": images, "more": [{}], "format": content["format"]})
    (tmp_path / "plan.json").write_text(" \n" + text, encoding="utf-8")
    assert read_plan(tmp_path / "plan.json") == plan_from_json(text) == [KEPT, GONE]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "is not JSON"),
        (" ", "is not JSON"),
        ("my notes", "is not JSON"),
        ('{"format": "fastdup-ray plan 1", "pictures": [', "is not JSON"),
        ('{"format": "fastdup-ray plan 1", "pictures": {}}', "a list of objects"),
        ('{"format": ["fastdup-ray plan 1"], "pictures": []}', '"format" must be'),
        ('{"pictures": []}', '"format" must be'),
        ("[" * 100_000, "is not JSON"),
        ("[]", '"format" must be'),
        ('{"format": "other", "pictures": []}', '"format" must be'),
        ('{"format": "fastdup-ray plan 1"}', "a list of objects"),
        ('{"format": "fastdup-ray plan 1", "pictures": [1]}', "a list of objects"),
        ('{"format": "fastdup-ray plan 1", "pictures": [{}]}', 'item 0 of "pictures" has no "filename"'),
    ],
)
def test_json_that_is_no_plan_is_refused(text, told, tmp_path):
    (tmp_path / "plan.json").write_text(text)
    with pytest.raises(InputError, match=re.escape(told)):
        read_plan(tmp_path / "plan.json")


@pytest.mark.parametrize(
    ("member", "value"),
    [
        ("filename", 5),
        ("filename", "\ud800"),
        ("filename_hex", "xyz"),
        ("keeper", []),
        ("reference", "maybe"),
        ("size", {}),
    ],
)
def test_json_members_of_other_kinds_are_refused(member, value):
    content = json.loads(plan_to_json([KEPT]))
    content["pictures"][0][member] = value
    if member == "keeper":
        content["pictures"][0][member] = {"a": 1}
    with pytest.raises(InputError):
        plan_from_json(json.dumps(content))


def test_a_plan_that_is_not_there_is_one_line(tmp_path):
    for name in ("plan.csv", "plan.json"):
        with pytest.raises(InputError, match=r"Cannot read the plan .*: No such file"):
            read_plan(tmp_path / name)
