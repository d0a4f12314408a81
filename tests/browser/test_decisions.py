"""Decisions in a browser: keys, the plan file that comes of them, and back. The plan is read by its own reader."""

import csv
import json
import os
import shutil
import threading
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from selenium.webdriver import Keys

from fastdup_ray import make_plan
from fastdup_ray.common import csv_columns, layout
from fastdup_ray.curation.plan_file import read_plan, write_plan
from fastdup_ray.curation.plan_row import PlanRow
from fastdup_ray.curation.report_service import ReportService
from fastdup_ray.curation.server import ReportServer
from fastdup_ray.outputs.run_identity import digest_images
from fastdup_ray.report.page import write_report
from fastdup_ray.storage import open_store
from fastdup_ray.storage.checked_json import read_json
from tests.helpers.commands import call
from tests.helpers.images import save_cloudy
from tests.helpers.odd_report import write_odd_report
from tests.helpers.runs import run_inline


def read_back(browser, path):
    browser.driver.find_element("css selector", "#plan-file").send_keys(str(path))
    browser.until(lambda: "Loaded" in browser.text("#message") or "Not a plan" in browser.text("#message"))


def actions(rows):
    return {row.filename: row.action for row in rows}


def test_keys_decide_and_the_plan_file_says_so(opened, odd, tmp_path, capsys):
    _, paths = odd
    opened.keys("n")
    opened.drop_rest(4)  # of the chain of four, which begins with the fourth
    opened.keys("n", "x")  # the next one: not duplicates
    opened.keys("n", "2")
    assert [heading.split("\n")[-1].split("reclaim")[-1].strip() for heading in opened.texts(".card h3")][:3] == [
        *("3 to drop", "not duplicates", "1 to drop")
    ]
    rows = read_plan(opened.download("Download plan"))
    by_name = {row.filename: row for row in rows}
    assert {name: by_name[name].action for name in paths[:4]} == dict.fromkeys(paths[:3], "drop") | {paths[3]: "keep"}
    assert all(by_name[name].keeper == paths[3] and by_name[name].rule == "user" for name in paths[:3])
    assert by_name[paths[3]].reason.startswith("most pixels: 90 × 49")
    assert [by_name[name].reason for name in paths[4:7]] == ["not duplicates"] * 3
    assert by_name[paths[6]].filename == paths[6]  # which is no UTF-8
    dropped = [row for row in rows if row.is_dropped]
    assert len(dropped) == 4
    assert "4 images to drop" in opened.text(".totals")
    images = {name: row for row, name in enumerate(paths)}
    for row in dropped:
        assert row.size
        assert len(row.sha256) == 64
        assert row.keeper in images
    assert read_plan(opened.download("Download plan.json")) == rows
    # What the keeper of the fourth is, is gone: looked at and told, but not moved.
    where = ("--work-dir", odd[0].location, "--quarantine", tmp_path / "quarantine")
    assert call("apply", opened.download("Download plan"), *where) == 5
    told = capsys.readouterr()
    assert "3 " in told.out
    assert "gone.jpg" in told.out + told.err
    assert not (tmp_path / "quarantine").exists()


def test_a_plan_is_read_back_as_it_was(opened, page, tmp_path):
    opened.keys("n", "2", "n", "x", "n", "1")
    for words in ("Download plan", "Download plan.json"):
        saved = opened.download(words)
        kept = tmp_path / saved.name
        shutil.copyfile(saved, kept)
        before = read_plan(kept)
        opened.clear_all()
        assert "No decisions" in opened.text(".totals")
        assert not opened.all(".state:not(:empty)")
        read_back(opened, kept)
        assert "not duplicates" in opened.texts(".card h3")[1]
        after = read_plan(opened.download("Download plan.json"))
        assert actions(after) == actions(before)
        assert {row.filename: (row.keeper, row.rule, row.reason, row.similarity) for row in after} == {
            row.filename: (row.keeper, row.rule, row.reason, row.similarity) for row in before
        }


def test_the_plan_of_the_command_is_read_changed_and_saved(opened, odd):
    store, paths = odd
    plan = make_plan(store.location, f"{store.location}/suggested.csv", threshold=0.9, overwrite=True)
    read_back(opened, plan.path)
    assert actions(read_plan(opened.download("Download plan"))) == actions(plan.rows)
    changed = next(row for row in plan.rows if row.is_dropped)
    index = opened.js(
        """const data = JSON.parse(document.getElementById("data").textContent);
        return data.pictures.row.indexOf(arguments[0])""",
        paths.index(changed.filename),
    )
    opened.press(opened.all(f"[data-member='{index}'] .keep")[0])
    rows = {row.filename: row for row in read_plan(opened.download("Download plan"))}
    assert rows[changed.filename].action == "keep"
    assert rows[changed.filename].rule == "user"
    assert {name: row.action for name, row in rows.items() if name != changed.filename} == {
        row.filename: row.action for row in plan.rows if row is not changed
    }


def test_an_image_that_was_kept_in_a_spreadsheet_loses_the_reason_to_drop_it(opened, odd):
    store, _ = odd
    plan = make_plan(store.location, f"{store.location}/edited.json", threshold=0.9, overwrite=True)
    place, changed = next((place, row) for place, row in enumerate(plan.rows) if row.is_dropped)
    path = Path(plan.path)
    content = json.loads(path.read_text())
    content["pictures"][place]["action"] = "keep"
    path.write_text(json.dumps(content))
    read_back(opened, path)
    rows = {row.filename: row for row in read_plan(opened.download("Download plan.json"))}
    assert (rows[changed.filename].rule, rows[changed.filename].keeper) == ("user", "")
    assert rows[changed.filename].reason != changed.reason


def test_the_page_numbers_groups_as_the_other_outputs_do(opened, odd):
    store, paths = odd
    component = pq.read_table(store.fetch(layout.COMPONENTS))["component_id"].to_pylist()
    opened.keys("n", "a", "n", "x")
    rows = read_plan(opened.download("Download plan.json"))
    assert len({row.group for row in rows}) == 2
    assert [row.group for row in rows] == [component[paths.index(row.filename)] for row in rows]


def test_rows_of_other_pictures_stay_in_the_plan(opened, odd, tmp_path):
    """A page does not have all pictures; what a plan says of the others is not lost, and never contradicts itself."""
    _, paths = odd
    known, strange = paths[9], "/elsewhere/a, b.jpg"
    cells = {"group": 7, "rule": "bytes", "reason": "by hand", "size": 5, "sha256": "", "etag": "", "reference": 0}
    rows = [
        {"filename": known, "action": "keep", "keeper": "", "similarity": "", **cells},
        {"filename": strange, "action": "drop", "keeper": known, "similarity": 0.99, **cells},
        {"filename": "/elsewhere/kept.jpg", "action": "keep", "keeper": "", "similarity": "", **cells},
        {"filename": "/elsewhere/too.jpg", "action": "drop", "keeper": "/elsewhere/kept.jpg", "similarity": 1, **cells},
    ]
    with open(tmp_path / "plan.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, csv_columns.PLAN_HEADER)
        writer.writeheader()
        writer.writerows(rows)
    read_back(opened, tmp_path / "plan.csv")
    assert "3 of them not on this page" in opened.text(".totals")
    assert actions(read_plan(opened.download("Download plan.json"))) == {row["filename"]: row["action"] for row in rows}
    opened.one("#search").send_keys("gpj")
    figure = opened.js(
        "return [...document.querySelectorAll('.image')].find((found) => found.textContent.includes('2028line.jpg'))"
    )
    opened.press(figure.find_element("css selector", ".drop"))
    rows = {row.filename: row for row in read_plan(opened.download("Download plan"))}
    assert rows[known].is_dropped
    assert not rows[strange].is_dropped
    assert rows[strange].reason == "its keeper is dropped"
    assert rows["/elsewhere/too.jpg"].is_dropped


def test_reasons_that_look_like_formulas_are_escaped_in_the_csv_and_come_back(opened, odd, tmp_path):
    _, paths = odd
    reasons = {
        paths[4]: "=cmd|' /C calc'!A0",
        paths[5]: "'+1",
        paths[9]: "- 1",
        "/elsewhere/x.jpg": "\t@x",
        paths[10]: "a=b",
    }
    rows = [PlanRow(name, "keep", 0, "", None, "user", why, 5, "", "", False) for name, why in reasons.items()]
    write_plan(open_store(str(tmp_path)), "plan.csv", rows)
    read_back(opened, tmp_path / "plan.csv")
    saved = opened.download("Download plan")
    with open(saved, encoding="utf-8", newline="") as file:
        cells = {line["reason"] for line in csv.DictReader(file)}
    assert cells == {"'=cmd|' /C calc'!A0", "''+1", "'- 1", "'\t@x", "a=b"}
    assert {row.filename: row.reason for row in read_plan(saved)} == reasons
    assert {row.filename: row.reason for row in read_plan(opened.download("Download plan.json"))} == reasons


def test_a_plan_of_an_earlier_version_becomes_one_of_this_run(opened, odd, tmp_path):
    _, paths = odd
    header = [name for name in csv_columns.PLAN_HEADER if name != "run"]
    with open(tmp_path / "plan.csv", "w", newline="") as file:
        csv.writer(file).writerows([header, [paths[4], "keep", 0, "", "", "user", "", 5, "", "", 0]])
    read_back(opened, tmp_path / "plan.csv")
    assert [row.run for row in read_plan(opened.download("Download plan"))] == [digest_images(odd[0])]


def test_one_of_a_group_stays_and_so_does_a_reference(opened):
    opened.one("#search").send_keys("script>alert")
    card = opened.one(".card")
    keep, drop = (card.find_elements("css selector", f".{action}") for action in ("keep", "drop"))
    assert [found.is_enabled() for found in drop] == [False, True]  # the first is a reference picture
    assert "reference" in drop[0].get_attribute("title")
    opened.js("document.querySelector('.card').focus()")
    opened.keys("1")
    assert "cannot be dropped" in opened.text("#message")
    assert len(keep) == 2
    search = opened.one("#search")
    search.clear()
    search.send_keys("comma")
    opened.js("document.querySelector('.card').focus()")
    opened.keys("1", "2", "3")
    assert opened.text("#message") == "Keep at least one image in each group."
    assert "2 to drop" in opened.text(".card h3")
    rows = read_plan(opened.download("Download plan"))
    assert sorted(actions(rows).values()) == ["drop", "drop", "keep"]


def test_undo_forget_and_the_filter_of_what_is_undecided(opened):
    opened.keys("n", "a", "z")
    assert "No decisions" in opened.text(".totals")
    opened.keys("a", "u")
    assert "No decisions" in opened.text(".totals")
    opened.keys("a")
    assert len(opened.all(".card")) == 4
    opened.one("#undecided").click()
    assert len(opened.all(".card")) == 3
    opened.clear_all(confirmed=False)
    assert "No decisions" not in opened.text(".totals")
    opened.clear_all()
    assert "No decisions" in opened.text(".totals")
    opened.keys("z")
    assert "No decisions" not in opened.text(".totals")


def test_pairs_are_decided_too(opened, odd):
    _, paths = odd
    opened.tab("Pairs")
    opened.js("document.querySelectorAll('.card')[4].focus()")  # 7 and 8, which is a reference
    opened.keys("1")
    rows = {row.filename: row for row in read_plan(opened.download("Download plan"))}
    assert rows[paths[7]].is_dropped
    assert rows[paths[7]].keeper == paths[8]
    assert rows[paths[8]].reference


def test_decisions_stay_in_the_browser(opened, page):
    opened.keys("n")
    opened.drop_rest(4)
    opened.until(lambda: opened.text("#save-state") == "Saved in this browser ✓")
    opened.driver.get("about:blank")
    opened.driver.get(page.as_uri())
    opened.until(lambda: "3 to drop" in opened.texts(".card h3")[0])


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("plan.json", '{"format": "other"}', 'Not a plan: the format must be "fastdup-ray plan 1".'),
        ("plan.json", "{", "Not a plan:"),
        ("plan.csv", "a,b\n1,2\n", "Not a plan: the column filename is missing."),
        ("plan.csv", "", "Not a plan: the column filename is missing."),
    ],
)
def test_what_is_no_plan_changes_nothing(opened, tmp_path, name, content, told):
    opened.keys("n")
    opened.drop_rest(4)
    (tmp_path / name).write_text(content)
    read_back(opened, tmp_path / name)
    assert opened.text("#message").startswith(told)
    assert "3 images to drop" in opened.text(".totals")


def test_a_spreadsheet_may_write_semicolons_and_a_mark(opened, tmp_path):
    opened.keys("n")
    opened.drop_rest(4)
    saved = opened.download("Download plan")
    with open(saved, encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))
    with open(tmp_path / "edited.csv", "w", encoding="utf-8-sig", newline="") as file:
        csv.writer(file, delimiter=";").writerows(rows)
    opened.clear_all()
    read_back(opened, tmp_path / "edited.csv")
    assert "3 to drop" in opened.texts(".card h3")[0]


@pytest.fixture
def served(page, odd):
    """The real server, on a run without a plan."""
    store, _ = odd
    store.remove(layout.PLAN_CSV)
    with ReportServer(ReportService(store.location)) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()
    store.remove(layout.PLAN_CSV)


def test_a_server_keeps_decisions_and_gives_whole_pictures(browser, served, odd):
    store, paths = odd
    plan = f"{store.location}/{layout.PLAN_CSV}"
    browser.open(served.url)
    browser.until(lambda: browser.text("#save-state") == "Decisions are saved in plan.csv.")
    browser.keys("n")
    browser.drop_rest(4)
    browser.until(lambda: store.exists(layout.PLAN_CSV) and sum(row.is_dropped for row in read_plan(plan)) == 3)
    assert {row.filename for row in read_plan(plan) if row.is_dropped} == {*paths[:3]}
    browser.driver.refresh()
    browser.until(lambda: "3 to drop" in browser.texts(".card h3")[0])
    browser.keys("n", Keys.ENTER)
    sources = "return [...document.querySelectorAll('.stage img')].map((image) => image.src)"
    assert browser.js(sources)[0] == f"{served.url}picture/3"
    widths = "return [...document.querySelectorAll('.stage img')].map((image) => image.naturalWidth)"
    browser.until(lambda: browser.js(widths)[0] == 90)
    browser.keys(Keys.ESCAPE)
    asked = {url for url in browser.requests() if not url.startswith(("data:", "about:"))}
    assert asked
    assert all(url.startswith(served.url) for url in asked)
    edited = [row for row in read_plan(plan) if not row.is_dropped]
    write_plan(store, layout.PLAN_CSV, edited)  # somebody else, meanwhile
    browser.js("document.querySelectorAll('.card')[1].focus()")
    browser.keys("x")
    browser.until(lambda: browser.text("#save-state").startswith("Not saved: "))
    assert "reload the page" in browser.text("#save-state")
    assert read_plan(plan) == edited
    browser.logged("browser")  # it complains of the refusal


def test_decisions_that_are_made_before_the_saved_ones_came_are_saved_with_them(browser, served, odd):
    store, paths = odd
    plan = make_plan(store.location).path
    browser.open(served.url)
    slow = {"offline": False, "latency": 1500, "downloadThroughput": -1, "uploadThroughput": -1}
    browser.command("Network.emulateNetworkConditions", **slow)
    try:
        browser.driver.refresh()
        browser.keys("n", "n", "2")
        assert "1 image to drop" in browser.text(".totals")
        browser.until(lambda: sum(row.is_dropped for row in read_plan(plan)) == 2)
    finally:
        browser.command("Network.emulateNetworkConditions", **slow | {"latency": 0})
    dropped = {row.filename for row in read_plan(plan) if row.is_dropped}
    assert paths[1] in dropped
    assert len(dropped.intersection(paths[4:7])) == 1
    browser.driver.get("about:blank")
    browser.logged("browser")  # it complains of an image that is gone


def test_a_server_shows_images_that_the_page_has_no_room_for(browser, served, odd):
    write_odd_report(odd[0], thumbnails=False)
    try:
        browser.open(served.url)
        width = "return document.querySelector('.card img')?.naturalWidth"
        browser.until(lambda: browser.js(width) == 90)
        gone = browser.all(".card")[2]
        browser.js("arguments[0].scrollIntoView()", gone)
        browser.until(lambda: "no preview" in gone.text)
    finally:
        write_odd_report(odd[0])
    browser.logged("browser")  # it complains of the file that is gone


def test_files_that_were_replaced_are_told_and_not_shown(browser, served, odd):
    _, paths = odd
    kept = {path: (Path(path).read_bytes(), os.stat(path).st_mtime_ns) for path in paths if os.path.exists(path)}
    try:
        for path, (data, time) in kept.items():
            Path(path).write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
            os.utime(path, ns=(time, time))
        browser.open(served.url)
        browser.keys("n", Keys.ENTER)
        browser.until(lambda: browser.texts(".stage .placeholder") == ["changed since the run"] * 2)
    finally:
        for path, (data, time) in kept.items():
            Path(path).write_bytes(data)
            os.utime(path, ns=(time, time))
    browser.logged("browser")  # it complains of the refusals


def test_a_scoring_has_its_leaks(browser, tmp_path):
    """Run modes 3 and 4: which new picture stands among the indexed ones."""
    paths = save_cloudy(tmp_path / "train", 5)
    (tmp_path / "test").mkdir()
    shutil.copyfile(paths[2], tmp_path / "test" / "leak.jpg")
    save_cloudy(tmp_path / "test" / "more", 1, (80, 80))
    run_inline(tmp_path / "train", tmp_path / "out")
    run_inline(tmp_path / "test", tmp_path / "out", run_mode=3)
    store = open_store(str(tmp_path / "out"))
    browser.open(store.fetch("test_report/index.html"))
    assert browser.texts("[role=tab]")[0].startswith("Leakage")
    card = browser.all(".card")[0].text
    assert "leak.jpg" in card
    assert "0002.jpg" in card
    assert "same bytes" in card
    assert "indexed" in card
    browser.keys("n", "1")
    rows = {row.filename: row for row in read_plan(browser.download("Download plan"))}
    assert rows[str(tmp_path / "test" / "leak.jpg")].keeper == str(paths[2])
    write_report(store, read_json(store, "summary.json"))  # the indexed set's own page still stands
    browser.open(store.fetch("report/index.html"))
    assert "leak" not in " ".join(browser.texts("[role=tab]")).lower()
