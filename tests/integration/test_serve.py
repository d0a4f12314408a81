"""`fastdup-ray serve`: what it answers over real connections, and all that it refuses."""

import base64
import hashlib
import http.client
import io
import json
import os
import re
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import threading
import time
import webbrowser
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from html import unescape
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from PIL import Image

from fastdup_ray import apply_plan, create_embedding_map, load_binary_feature, make_plan, save_binary_feature, undo
from fastdup_ray.common import layout
from fastdup_ray.curation import connections, report_service
from fastdup_ray.curation.connections import MOST_CONNECTIONS
from fastdup_ray.curation.plan_file import read_plan
from fastdup_ray.curation.report_service import ReportService
from fastdup_ray.curation.server import HEADERS, LARGEST_PLAN, ReportServer
from tests.conftest import Bucket
from tests.helpers.commands import call
from tests.helpers.images import cloudy, encode
from tests.helpers.plans import plan_to_json
from tests.helpers.runs import deadline, files_below, run_inline
from tests.helpers.videos import make_clip


class Answer(NamedTuple):
    status: int
    headers: http.client.HTTPMessage
    body: bytes


@contextmanager
def serving(work_dir: Path | str, host: str = "127.0.0.1") -> Iterator[ReportServer]:
    with ReportServer(ReportService(work_dir), host) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def ask(
    server: ReportServer, what: str = "", method: str = "GET", body: str | bytes | None = None, **headers: str
) -> Answer:
    """what: below the token, or from the root on where it begins with a /. headers: with _ for -."""
    path = what if what.startswith("/") else f"/{server.token}/{what}"
    connection = http.client.HTTPConnection(*server.server_address[:2], timeout=60)
    try:
        connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
        response = connection.getresponse()
        return Answer(response.status, response.headers, response.read())
    finally:
        connection.close()


def tag_of(server: ReportServer) -> str:
    return ask(server, "plan").headers["ETag"]


def put(server: ReportServer, plan: list | dict, **headers: str) -> Answer:
    """plan: rows, or the content of the JSON. Replaces the plan that is there, unless `If_Match` says otherwise."""
    body = json.dumps(plan) if isinstance(plan, dict) else plan_to_json(plan)
    headers = {"If_Match": tag_of(server), "Content_Type": "application/json"} | headers
    return ask(server, "plan", "PUT", body.encode(), **headers)


def raw(server: ReportServer, request: bytes) -> bytes:
    """The answer to a request that no client of good manners would send."""
    with socket.create_connection(server.server_address[:2], timeout=60) as connection:
        connection.sendall(request)
        connection.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: connection.recv(65536), b""))


@pytest.fixture
def out(finished, tmp_path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "out"))


@pytest.fixture
def server(out) -> Iterator[ReportServer]:
    with serving(out) as server:
        yield server


# What is served


POLICY = re.compile(r'<meta http-equiv="Content-Security-Policy" content="([^"]*)">')


def test_the_page_is_the_report_and_says_that_it_is_served(server, out):
    status, headers, body = ask(server)
    report = (out / layout.REPORT).read_text()
    policy = POLICY.search(report)
    announced = '<meta name="fastdup-server" data-plan="plan" data-picture="picture/">'
    assert status == 200
    assert body.decode() == report.replace(policy[0], announced)
    assert body.index(announced.encode()) < body.index(b"</head>")
    rules = dict(part.strip().split(" ", 1) for part in headers["Content-Security-Policy"].split(";"))
    asked = dict(part.strip().split(" ", 1) for part in unescape(policy[1]).split(";"))
    assert rules == asked | {
        "img-src": asked["img-src"] + " 'self'",
        "connect-src": "'self'",
        "frame-ancestors": "'none'",
    }
    assert rules["default-src"] == "'none'"
    assert "unsafe" not in headers["Content-Security-Policy"]
    assert headers["Content-Type"] == "text/html; charset=utf-8"


def test_the_map_is_served_if_it_is_of_this_run(server, out):
    assert ask(server, "map").status == 404
    page = Path(create_embedding_map(out))
    status, headers, body = ask(server, "map")
    assert status == 200
    assert b'<meta name="fastdup-server" data-plan="plan" data-picture="picture/">' in body
    assert "'self'" in headers["Content-Security-Policy"]
    page.write_text(page.read_text().replace('data-run="', 'data-run="0'))
    assert ask(server, "map").status == 404


def test_every_picture_is_there_in_its_full_size_by_its_row(server, out):
    names, _ = load_binary_feature(str(out / "features.dat"))
    as_they_are = set()
    for row, name in enumerate(names):
        status, headers, body = ask(server, f"picture/{row}")
        assert status == 200, (name, body)
        assert headers["Content-Type"].startswith("image/")
        assert headers["X-Content-Type-Options"] == "nosniff"
        if body == Path(name).read_bytes():
            as_they_are.add(Path(name).suffix)
        with Image.open(io.BytesIO(body)) as image, Image.open(name) as original:
            assert sorted(image.size) == sorted(original.size), name
            if body != Path(name).read_bytes():
                assert image.format == "JPEG"
                assert headers["Content-Type"] == "image/jpeg"
    assert {".jpg", ".png", ".webp"} <= as_they_are
    assert len(names) > 30
    assert ask(server, f"picture/{len(names)}").status == 404


def test_frames_of_videos_and_members_of_archives_are_pictures_too(tmp_path):
    photos = tmp_path / "photos"
    photos.mkdir()
    data = encode(cloudy(1), "PNG")
    with tarfile.open(photos / "a.tar", "w") as tar:
        info = tarfile.TarInfo("in.png")
        info.size = len(data)
        tar.addfile(info, io.BytesIO(data))
    make_clip(photos / "clip.mp4")
    run_inline(photos, tmp_path / "out")
    names, _ = load_binary_feature(str(tmp_path / "out/features.dat"))
    with serving(tmp_path / "out") as server:
        answers = {name: ask(server, f"picture/{row}") for row, name in enumerate(names)}
    assert answers[f"{photos}/a.tar!/in.png"].body == data
    frame = answers[f"{photos}/clip.mp4#t=0.000"]
    assert frame.status == 200
    assert Image.open(io.BytesIO(frame.body)).format == "JPEG"


def test_a_picture_that_is_gone_or_another_by_now_is_not_served(tmp_path):
    photos = tmp_path / "photos"
    photos.mkdir()
    for number in range(3):
        (photos / f"{number}.png").write_bytes(encode(cloudy(number), "PNG"))
    run_inline(photos, tmp_path / "out")
    (photos / "0.png").unlink()
    (photos / "1.png").unlink()
    (tmp_path / "secret").write_text("a secret")
    (photos / "1.png").symlink_to(tmp_path / "secret")
    with serving(tmp_path / "out") as server:
        answers = [ask(server, f"picture/{row}") for row in range(3)]
    assert [answer.status for answer in answers] == [404, 409, 200]
    assert b"does not exist" in answers[0].body
    assert b"Changed since the run" in answers[1].body


def replace_unseen(path: Path, data: bytes) -> None:
    """Write other bytes of the same number into a file, and set its time back."""
    before = path.stat()
    path.write_bytes(data.ljust(before.st_size, b"\0"))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_size == before.st_size


def flip_byte(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


@pytest.fixture
def one_of_each(tmp_path) -> Path:
    """A run on an image that browsers show, one that they do not, a member of an archive and frames of a video."""
    photos = tmp_path / "photos"
    photos.mkdir()
    member = encode(cloudy(1), "PNG")
    with tarfile.open(photos / "a.tar", "w") as tar:
        info = tarfile.TarInfo("in.png")
        info.size = len(member)
        tar.addfile(info, io.BytesIO(member))
    (photos / "b.png").write_bytes(encode(cloudy(2), "PNG"))
    (photos / "c.tif").write_bytes(encode(cloudy(3), "TIFF"))
    make_clip(photos / "d.mp4")
    run_inline(photos, tmp_path / "out")
    return tmp_path


@pytest.mark.parametrize("name", ["a.tar", "b.png", "c.tif", "d.mp4"])
def test_a_replaced_image_of_the_same_size_and_time_is_not_shown(one_of_each, name):
    names, _ = load_binary_feature(one_of_each / "out/features.dat")
    mine = [row for row, image in enumerate(names) if f"/{name}" in image]
    path = one_of_each / "photos" / name
    with serving(one_of_each / "out") as server:
        assert {ask(server, f"picture/{row}").status for row in mine} == {200}
        data = path.read_bytes()
        replace_unseen(path, flip_byte(data, data.index(b"IDAT") + 20 if b"IDAT" in data else len(data) // 2))
        answers = [ask(server, f"picture/{row}") for row in range(len(names))]
    assert [answer.status for answer in answers] == [409 if row in mine else 200 for row in range(len(names))]
    assert all(answers[row].headers["Content-Type"].startswith("text/plain") for row in mine)


def test_a_file_that_was_touched_and_has_the_same_bytes_is_shown(one_of_each):
    for path in (one_of_each / "photos").iterdir():
        os.utime(path, (1, 1))
    names, _ = load_binary_feature(one_of_each / "out/features.dat")
    with serving(one_of_each / "out") as server:
        assert {ask(server, f"picture/{row}").status for row in range(len(names))} == {200}


def test_images_that_no_run_read_are_shown_as_they_are_now(tmp_path):
    names = [str(tmp_path / f"{number}.png") for number in range(2)]
    for number, name in enumerate(names):
        Path(name).write_bytes(encode(cloudy(number), "PNG"))
    save_binary_feature(tmp_path / "out", names, np.eye(2, 8))
    run_inline(None, tmp_path / "out", run_mode=2)
    with serving(tmp_path / "out") as server:
        answers = [ask(server, f"picture/{row}") for row in range(2)]
    assert [(answer.status, answer.headers["Content-Type"]) for answer in answers] == [(200, "image/jpeg")] * 2


def test_a_file_is_compared_once_and_keeps_no_other_request_waiting(one_of_each, monkeypatch):
    names, _ = load_binary_feature(one_of_each / "out/features.dat")
    frames = [row for row, name in enumerate(names) if "#t=" in name][:2]
    photo = next(row for row, name in enumerate(names) if name.endswith("b.png"))
    real, compared, go_on = report_service._hash_file, [], threading.Event()

    def slow(file):
        compared.append(file.name)
        if file.name.endswith(".mp4"):
            go_on.wait(30)
        return real(file)

    monkeypatch.setattr(report_service, "_hash_file", slow)
    with serving(one_of_each / "out") as server, ThreadPoolExecutor(2) as pool:
        asked = [pool.submit(ask, server, f"picture/{row}") for row in frames]
        with deadline(10):
            assert [ask(server, f"picture/{photo}").status for _ in range(2)] == [200, 200]
            assert ask(server).status == 200
        go_on.set()
        assert [answer.result().status for answer in asked] == [200, 200]
    assert sorted(Path(name).name for name in compared) == ["b.png", "d.mp4"]


def test_head_is_get_without_a_body(server):
    for what in ("", "plan", "picture/0"):
        got, told = ask(server, what), ask(server, what, "HEAD")
        assert (told.status, told.body) == (200, b"")
        assert told.headers["Content-Length"] == got.headers["Content-Length"] == str(len(got.body))


def test_every_answer_has_the_headers_and_lets_no_other_origin_read_it(server):
    for answer in (
        ask(server),
        ask(server, "plan"),
        ask(server, "picture/0"),
        ask(server, "picture/99999999"),
        ask(server, "nowhere"),
        ask(server, "/"),
        ask(server, "plan", "OPTIONS", Origin="http://evil.example", Access_Control_Request_Method="PUT"),
        ask(server, "plan", "PUT", b"{}", Content_Type="application/json"),
    ):
        assert set(answer.headers) >= HEADERS.keys()
        for name in ("X-Content-Type-Options", "Referrer-Policy", "Cache-Control", "Cross-Origin-Resource-Policy"):
            assert answer.headers.get_all(name) == [HEADERS[name]]
        assert len(answer.headers.get_all("Content-Security-Policy")) == 1
        assert not [name for name in answer.headers if name.lower().startswith("access-control")]
        assert "Python" not in answer.headers["Server"]


# Decisions


def test_decisions_are_saved_as_the_plan_that_apply_reads(tmp_path):
    photos = tmp_path / "photos"
    photos.mkdir()
    for name in ("a", "b", "c"):
        (photos / f"{name}.png").write_bytes(encode(cloudy(1), "PNG"))
    run_inline(photos, tmp_path / "out")
    rows = make_plan(tmp_path / "out", tmp_path / "elsewhere.csv").rows
    with serving(tmp_path / "out") as server:
        first = ask(server, "plan")
        assert (first.status, json.loads(first.body)["pictures"]) == (200, [])
        assert first.headers["Content-Type"] == "application/json"
        assert not (tmp_path / "out/plan.csv").exists()
        saved = put(server, rows, If_Match=first.headers["ETag"])
        assert (saved.status, saved.body) == (204, b"")
        again = ask(server, "plan")
        assert again.body.decode() == plan_to_json(rows)
        assert again.headers["ETag"] == saved.headers["ETag"]
    assert read_plan(tmp_path / "out/plan.csv") == rows
    applied = apply_plan(tmp_path / "out/plan.csv", tmp_path / "q", execute=True)
    assert len(applied.moved) == 2
    assert files_below(photos) == {"a.png"}
    undo(tmp_path / "q")


def test_what_another_saved_meanwhile_is_not_written_over(server, out):
    rows = make_plan(out).rows
    tag = ask(server, "plan").headers["ETag"]
    fewer = [row for row in rows if row.group == rows[0].group]
    assert put(server, fewer, If_Match=tag).status == 204
    stale = put(server, rows, If_Match=tag)
    assert stale.status == 412
    assert b"reload the page" in stale.body
    assert read_plan(out / "plan.csv") == fewer
    tag = tag_of(server)
    (out / "plan.csv").write_text("my notes")
    unread = put(server, rows, If_Match=tag)
    assert unread.status == 400
    assert b"has no column" in unread.body
    assert (out / "plan.csv").read_text() == "my notes"


@pytest.mark.parametrize("headers", [[], ["If-Match: *"], ["If-Match: {tag}", "If-Match: {tag}"], ["If-None-Match: *"]])
def test_a_plan_that_replaces_none_by_name_is_refused(server, out, headers):
    make_plan(out)
    before, body = (out / "plan.csv").read_bytes(), plan_to_json([])
    lines = [f"PUT /{server.token}/plan HTTP/1.1", "Host: localhost", "Content-Type: application/json"]
    lines += [f"Content-Length: {len(body)}", *(header.format(tag=tag_of(server)) for header in headers), "", ""]
    assert raw(server, "\r\n".join([*lines]).encode() + body.encode()).startswith(b"HTTP/1.1 428 ")
    assert (out / "plan.csv").read_bytes() == before


def test_of_two_who_begin_without_a_plan_the_second_is_told(server, out, tmp_path):
    tag, rows = tag_of(server), make_plan(out, tmp_path / "elsewhere.csv").rows
    assert [put(server, rows, If_Match=tag).status for _ in range(2)] == [204, 412]


def test_by_what_a_picture_is_known_again_says_the_run_and_not_the_page(server, out):
    rows = make_plan(out).rows
    content = json.loads(plan_to_json(rows))
    for picture in content["pictures"]:
        picture |= {"size": 1, "sha256": "00" * 32, "etag": "lie", "reference": picture["action"] == "keep"}
    assert put(server, content).status == 204
    assert read_plan(out / "plan.csv") == rows


def test_a_reference_picture_is_not_dropped_whatever_the_page_says(tmp_path):
    for folder in ("mine", "theirs"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "x.png").write_bytes(encode(cloudy(1), "PNG"))
    run_inline(tmp_path / "mine", tmp_path / "out", reference=[str(tmp_path / "theirs")])
    rows = make_plan(tmp_path / "out", tmp_path / "elsewhere.csv").rows
    content = json.loads(plan_to_json(rows))
    theirs, mine = content["pictures"]
    theirs |= {"action": "drop", "keeper": mine["filename"], "reference": False}
    mine |= {"action": "keep", "keeper": ""}
    with serving(tmp_path / "out") as server:
        answer = put(server, content)
    assert answer.status == 400
    assert b"an image of a reference input" in answer.body
    assert not (tmp_path / "out/plan.csv").exists()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda content: content.clear(), "format"),
        (lambda content: content["pictures"][1].update(filename="/etc/passwd"), "not an image of this run"),
        (lambda content: content["pictures"][0].update(action="delete"), "keep or drop"),
        (lambda content: content["pictures"][1].update(keeper="/nowhere.jpg"), "does not keep its keeper"),
        (lambda content: content["pictures"].append(content["pictures"][0]), "twice"),
        (lambda content: content["pictures"][0].pop("rule"), 'no "rule"'),
    ],
)
def test_a_plan_that_cannot_be_meant_is_refused_in_one_line_and_the_saved_one_stays(server, out, change, told):
    before = (out / make_plan(out).path).read_bytes()
    content = json.loads(ask(server, "plan").body)
    change(content)
    answer = put(server, content)
    assert answer.status == 400
    assert told in answer.body.decode()
    assert b"\n" not in answer.body
    assert (out / "plan.csv").read_bytes() == before


def test_many_who_save_at_once_leave_one_whole_plan(server, out):
    rows = make_plan(out).rows
    parts = [[row for row in rows if row.group == number] for number in range(6)]
    threads = [threading.Thread(target=put, args=(server, part)) for part in parts * 3]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert read_plan(out / "plan.csv") in parts
    assert not [name for name in files_below(out) if ".tmp" in name]


# What is refused


def refused(server: ReportServer, answer: Answer) -> bool:
    return 400 <= answer.status < 500 and server.token.encode() not in answer.body and len(answer.body) < 200


def test_without_the_token_there_is_nothing(server, out):
    make_plan(out)
    token = server.token
    flipped = ("B" if token[0] == "A" else "A") + token[1:]
    for wrong in (
        "",
        "x",
        token[:-1],
        token + "A",
        flipped,
        token.swapcase(),
        "%" + f"{ord(token[0]):02x}" + token[1:],
    ):
        for what in ("", "plan", "picture/0"):
            answer = ask(server, f"/{wrong}/{what}")
            assert refused(server, answer), wrong
            assert answer.body == b"Not found.", wrong
            assert refused(server, ask(server, f"/{wrong}/plan", "PUT", b"{}", Content_Type="application/json"))
    for path in ("/", "/plan", "/picture/0", "/index.html", "/favicon.ico", f"/?token={token}", f"/{token}"):
        assert refused(server, ask(server, path)), path


@pytest.mark.parametrize(
    "what",
    [
        *("../", "../../../../etc/passwd", "..%2f..%2fetc%2fpasswd", "picture/../../../etc/passwd"),
        *("picture/..%2f..%2f..%2fetc%2fpasswd", "picture//etc/passwd", "picture/%2fetc%2fpasswd", "/etc/passwd"),
        *("picture/-1", "picture/0.0", "picture/0/", "picture/0x0", "picture/", "picture/1e1", "picture/\uff10"),
        *(
            "picture/999999999999",
            "picture/" + "9" * 400,
            "map/",
            "map?x",
            "picture/0?x",
            "picture/0#x",
            "picture/0%00",
            "picture/ 0",
        ),
        *("features.dat", "config.json", "plan.csv", "report/index.html", "plan/", "./plan", "plan?x", "PLAN"),
        *("file:///etc/passwd", "\\..\\..\\etc\\passwd", "picture/\\etc\\passwd", "%2e%2e/%2e%2e/etc/passwd"),
    ],
)
def test_no_path_leads_anywhere_but_to_the_page_the_plan_and_the_pictures(server, out, what):
    make_plan(out)
    for path in (f"/{server.token}/{what}", what):
        lines = [f"GET {path} HTTP/1.1", f"Host: 127.0.0.1:{server.server_port}", "Connection: close", "", ""]
        answer = raw(server, "\r\n".join(lines).encode("utf-8"))
        assert re.match(rb"HTTP/1\.1 4\d\d ", answer), answer[:200]
        assert b"root:" not in answer
        assert b"nearest_neighbors_k" not in answer
        assert b"filename" not in answer


@pytest.mark.parametrize(
    "host",
    [
        *(
            "evil.example",
            "evil.example:{port}",
            "127.0.0.1.evil.example",
            "localhost.evil.example:{port}",
            "",
            "0.0.0.0",
        ),
        *(
            "127.0.0.2",
            "127.1",
            "2130706433",
            "[::1]",
            "localhost:{port}@evil.example",
            "localhost evil.example",
            "a" * 300,
        ),
        *("evil.example#localhost", "LOCALHOST.", "localhost:x"),
    ],
)
def test_a_name_of_somebody_else_that_leads_here_gets_nothing(server, host):
    answer = ask(server, Host=host.format(port=server.server_port))
    assert answer.status == 421
    assert refused(server, answer)
    body = b'{"format": "fastdup-ray plan 1", "pictures": []}'
    assert ask(server, "plan", "PUT", body, Content_Type="application/json", Host=host).status == 421


def test_two_hosts_or_none_get_nothing(server):
    for lines in (["Host: 127.0.0.1", "Host: evil.example"], ["Host: evil.example", "Host: 127.0.0.1"], []):
        request = "\r\n".join([f"GET /{server.token}/ HTTP/1.1", *lines, "Connection: close", "", ""])
        assert raw(server, request.encode()).startswith(b"HTTP/1.1 421 ")
    assert b"421" in raw(server, f"GET /{server.token}/ HTTP/1.0\r\n\r\n".encode())[:20]


def test_its_own_names_get_everything_through_a_tunnel_as_well(server):
    for host in ("127.0.0.1", "localhost", f"localhost:{server.server_port}", "LocalHost:9999", "127.0.0.1:80"):
        assert ask(server, Host=host).status == 200
        assert ask(server, "plan", Host=host, Origin=f"http://{host.lower()}").status == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "https://127.0.0.1:{port}"},
        {"Origin": "http://127.0.0.1:1"},
        {"Origin": "http://localhost:{port}"},
        {"Sec_Fetch_Site": "cross-site"},
        {"Sec_Fetch_Site": "same-site"},
    ],
)
def test_another_origin_gets_nothing_and_writes_nothing(server, out, headers):
    headers = {name: value.format(port=server.server_port) for name, value in headers.items()}
    for what in ("", "plan", "picture/0"):
        answer = ask(server, what, **headers)
        assert answer.status == 403
        assert refused(server, answer)
    body = b'{"format": "fastdup-ray plan 1", "pictures": []}'
    for kind in ("application/json", "text/plain"):
        assert ask(server, "plan", "PUT", body, Content_Type=kind, **headers).status == 403
    assert not (out / "plan.csv").exists()


def test_only_what_a_page_of_its_own_can_send_is_read_as_a_plan(server, out):
    body = b'{"format": "fastdup-ray plan 1", "pictures": []}'
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", ""):
        assert ask(server, "plan", "PUT", body, Content_Type=kind, If_Match=tag_of(server)).status == 415
    for method in ("POST", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "PROPFIND"):
        assert ask(server, "plan", method, body, Content_Type="application/json").status in (405, 501)
    for what in ("", "picture/0"):
        assert ask(server, what, "PUT", body, Content_Type="application/json").status == 405
    assert not (out / "plan.csv").exists()


@pytest.mark.parametrize(
    ("headers", "body", "status"),
    [
        (["Content-Length: " + str(LARGEST_PLAN + 1)], b"", 413),
        (["Content-Length: -1"], b"", 411),
        (["Content-Length: 1e3"], b"", 411),
        ([], b"{}", 411),
        (["Content-Length: 2", "Transfer-Encoding: chunked"], b"{}", 411),
        (["Content-Length: 200"], b"{}", 400),
        (["Content-Length: 2"], b"\xff\xfe", 400),
        (["Content-Length: 100000"], b"[" * 100_000, 400),
    ],
)
def test_a_body_that_is_no_plan_is_refused(server, out, headers, body, status):
    lines = [f"PUT /{server.token}/plan HTTP/1.1", "Host: localhost", "Content-Type: application/json", *headers]
    lines.append(f"If-Match: {tag_of(server)}")
    answer = raw(server, "\r\n".join([*lines, "", ""]).encode() + body)
    assert answer.startswith(f"HTTP/1.1 {status} ".encode()), answer[:200]
    assert not (out / "plan.csv").exists()


def test_garbage_is_answered_and_the_server_goes_on(server, capfd):
    for request in (b"", b"\x00\xff\r\n\r\n", b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"GET /" + b"a" * 70_000):
        raw(server, request)
    with socket.create_connection(server.server_address[:2]) as connection:
        connection.sendall(f"GET /{server.token}/ HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        connection.setsockopt(
            socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0"
        )  # reset, with the answer under way
    assert ask(server).status == 200
    assert "Traceback" not in capfd.readouterr().err


# Who holds connections


def connect(server: ReportServer, count: int, data: bytes = b"") -> list[socket.socket]:
    connections = [socket.create_connection(server.server_address[:2], timeout=10) for _ in range(count)]
    for connection in connections:
        connection.sendall(data)
    return connections


@pytest.mark.alone
@pytest.mark.parametrize(
    "data",
    [b"", b"GET /", b"PUT /x/plan HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99\r\n\r\n"],
    ids=["idle", "in the midst of a header", "without the token"],
)
def test_who_holds_many_connections_does_not_lock_the_owner_out(server, data):
    others = connect(server, 3 * MOST_CONNECTIONS, data)
    with deadline(10):
        assert ask(server).status == 200
        assert ask(server, "plan").status == 200
    assert sum(is_open(connection) for connection in others) <= MOST_CONNECTIONS
    for connection in others:
        connection.close()


def is_open(connection: socket.socket) -> bool:
    connection.settimeout(0.01)
    try:
        return connection.recv(65536) != b"" and is_open(connection)
    except TimeoutError:
        return True
    except OSError:
        return False


@pytest.mark.alone
def test_a_request_that_drips_in_is_given_up(server, monkeypatch):
    monkeypatch.setattr(connections, "HEADER_SECONDS", 0.5)
    (connection,) = connect(server, 1)
    with deadline(10), pytest.raises(ConnectionError):
        while True:
            connection.sendall(b"G")
            time.sleep(0.1)
    connection.close()


@pytest.mark.alone
def test_a_body_that_drips_in_is_given_up(server, out, monkeypatch):
    monkeypatch.setattr(connections, "BODY_SECONDS", 0.5)
    head = f"PUT /{server.token}/plan HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    head += f"If-Match: {tag_of(server)}\r\nContent-Length: 1000\r\n\r\n"
    (connection,) = connect(server, 1, head.encode())
    with deadline(10), pytest.raises(ConnectionError):
        while True:
            connection.sendall(b"{")
            time.sleep(0.1)
    connection.close()
    assert ask(server).status == 200
    assert not (out / "plan.csv").exists()


def test_headers_have_a_size_as_a_whole(server):
    line = f"X: {'a' * 60_000}"
    request = "\r\n".join([f"GET /{server.token}/ HTTP/1.1", "Host: localhost", *[line] * 50, "", ""])
    with suppress(OSError):  # it stops reading: reset, or no longer connected
        assert raw(server, request.encode()).startswith(b"HTTP/1.1 431 ")
    assert ask(server).status == 200


def test_of_requests_in_one_packet_none_is_answered_after_one_that_was_refused(server, out):
    get = f"GET /{server.token}/plan HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
    body = plan_to_json([]).encode()
    put = f"PUT /{server.token}/plan HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    put += f"If-Match: {tag_of(server)}\r\nContent-Length: {len(body)}\r\n\r\n"
    statuses = re.compile(rb"^HTTP/1\.1 (\d+) ", re.MULTILINE)
    assert statuses.findall(raw(server, get + get)) == [b"200", b"200"]
    assert statuses.findall(raw(server, b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n" + put.encode() + body)) == [b"404"]
    chunked = put.replace("Content-Length: ", "Transfer-Encoding: chunked\r\nContent-Length: ")
    assert statuses.findall(raw(server, chunked.encode() + body + get)) == [b"411"]
    assert not (out / "plan.csv").exists()


@pytest.mark.alone
def test_a_connection_without_a_request_is_given_up(server, monkeypatch):
    monkeypatch.setattr(connections, "IDLE_SECONDS", 0.5)
    (connection,) = connect(server, 1)
    with deadline(10):
        assert connection.recv(1) == b""
    connection.close()


@pytest.mark.alone
def test_without_descriptors_the_server_waits_instead_of_spinning(server):
    asker = socket.socket()
    taken = []
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(map(int, os.listdir("/proc/self/fd"))) + 20, before[1]))
    try:
        with pytest.raises(OSError, match="Too many open files"):
            while True:
                taken.append(os.dup(0))
        asker.connect(server.server_address[:2])
        start = time.process_time()
        time.sleep(1)
        assert time.process_time() - start < 0.5
    finally:
        for descriptor in taken:
            os.close(descriptor)
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
        asker.close()
    assert ask(server).status == 200


# Where it listens


def test_it_listens_to_this_machine_alone(server):
    assert server.is_local
    assert server.server_address[0] == "127.0.0.1"
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.2", server.server_port)) != 0  # an address of this machine all the same


def test_the_token_is_long_and_another_each_time(out):
    tokens = [ReportServer(ReportService(out)) for _ in range(3)]
    try:
        assert len({server.token for server in tokens}) == 3
        assert all(len(base64.urlsafe_b64decode(server.token + "=")) == 32 for server in tokens)
    finally:
        for server in tokens:
            server.server_close()


@pytest.mark.parametrize(
    ("options", "code", "told"),
    [
        (["--host", "0.0.0.0"], 2, "must be one address"),
        (["--host", "::"], 2, "must be one address"),
        (["--host", "localhost"], 2, "must be an IP address"),
        (["--host", "203.0.113.1"], 2, "Cannot listen on 203.0.113.1"),
        (["--port", "70000"], 2, "70000"),
    ],
)
def test_a_mistake_is_one_line(out, options, code, told, capsys):
    assert call("serve", out, *options) == code
    assert told in capsys.readouterr().err


def test_what_has_no_report_is_not_served(tmp_path, out, capsys):
    assert call("serve", tmp_path / "nowhere") == 1
    assert "No finished run" in capsys.readouterr().err
    (out / layout.REPORT).unlink()
    assert call("serve", out) == 1
    assert "run again with --report" in capsys.readouterr().err


def start(work_dir: Path, *options: str) -> tuple[subprocess.Popen, str, str]:
    """The command, what it printed, and its address."""
    words = [sys.executable, "-c", "from fastdup_ray.cli.main import main; main()", "serve", str(work_dir), *options]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)
    told = ""
    for line in process.stdout:
        told += line
        if "Ctrl-C" in line:
            break
    return process, told, re.search(r"http://\S+", told)[0]


def test_the_command_tells_its_address_and_ends_with_ctrl_c(out):
    process, told, url = start(out)
    try:
        assert "Reachable from this machine only" in told
        assert f"saved in {out}/plan.csv" in told
        assert "Warning" not in told
        host, port, token = re.fullmatch(r"http://(127\.0\.0\.1):(\d+)/([\w-]{43})/", url).groups()
        connection = http.client.HTTPConnection(host, int(port), timeout=60)
        connection.request("GET", f"/{token}/")
        assert connection.getresponse().status == 200
    finally:
        process.send_signal(signal.SIGINT)
        rest, err = process.communicate(timeout=30)
    assert process.returncode == 0
    assert "Stopped." in rest
    assert err == ""


def own_address() -> str:
    """An address of this machine that others may reach; no packet is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("203.0.113.1", 9))
        except OSError:
            pytest.skip("this machine has no address but its own")
        return probe.getsockname()[0]


def test_an_address_that_others_reach_is_served_with_a_warning_and_only_by_its_name(out):
    address = own_address()
    process, told, url = start(out, "--host", address)
    process.kill()
    process.communicate()
    assert url.startswith(f"http://{address}:")
    assert f"Warning: any machine that reaches {address}" in told
    with serving(out, address) as server:
        assert ask(server).status == 200
        for host in ("localhost", "127.0.0.1", "evil.example"):
            assert ask(server, Host=host).status == 421


# A browser


PROBE = """
const told = async () => {
  const server = document.querySelector('meta[name="fastdup-server"]').dataset;
  const got = await fetch(server.plan), plan = await got.json();
  const put = await fetch(server.plan, {method: "PUT", body: JSON.stringify(plan),
    headers: {"Content-Type": "application/json", "If-Match": got.headers.get("ETag")}});
  const picture = new Image();
  const loaded = new Promise((done, failed) => { picture.onload = done; picture.onerror = failed; });
  picture.src = server.picture + "0";
  await loaded;
  const other = "http://localhost:" + location.port + location.pathname;
  const away = await fetch(other, {mode: "no-cors"}).then(() => "let out", () => "kept in");
  return [plan.pictures.length, put.status, picture.naturalWidth, away].join(" ");
};
told().catch(error => "failed: " + error).then(text => { document.body.append(text); document.title = text; });
"""


@pytest.mark.slow
@pytest.mark.alone
def test_a_page_in_a_browser_gets_and_puts_the_plan_and_shows_whole_pictures(out, tmp_path):
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("needs chromium")
    rows = make_plan(out).rows
    digest = base64.b64encode(hashlib.sha256(PROBE.encode()).digest()).decode()
    policy = f"default-src 'none'; img-src data:; script-src 'sha256-{digest}'; base-uri 'none'"
    (out / layout.REPORT).write_text(
        f'<!doctype html><html><head><meta http-equiv="Content-Security-Policy" content="{policy}">'
        f"<title>probe</title></head><body><script>{PROBE}</script></body></html>"
    )
    width = Image.open(load_binary_feature(str(out / "features.dat"))[0][0]).width
    with serving(out) as server:
        options = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}"]
        done = subprocess.run(
            [chromium, *options, "--virtual-time-budget=20000", "--dump-dom", server.url],
            capture_output=True,
            text=True,
            timeout=120,
        )
    assert f"<title>{len(rows)} 204 {width} kept in</title>" in done.stdout, done.stdout[-500:] + done.stderr[-500:]
    assert read_plan(out / "plan.csv") == rows


# Buckets


def test_pictures_and_decisions_in_buckets(bucket: Bucket, capsys):
    for name, seed in (("a/1.png", 1), ("a/ü 2 +.png", 1), ("b.tif", 2)):
        bucket.put(name, encode(cloudy(seed), "TIFF" if name.endswith("tif") else "PNG"))
    run_inline(bucket.pictures, bucket.work_dir, executor="inline")
    rows = make_plan(bucket.work_dir, bucket.work_dir + "/elsewhere.csv").rows
    with serving(bucket.work_dir) as server:
        assert ask(server).status == 200
        assert [ask(server, f"picture/{row}").status for row in range(4)] == [200, 200, 200, 404]
        assert ask(server, "picture/1").body == encode(cloudy(1), "PNG")
        assert Image.open(io.BytesIO(ask(server, "picture/2").body)).size == (64, 48)
        assert put(server, rows, If_Match=ask(server, "plan").headers["ETag"]).status == 204
        assert ask(server, "plan").body.decode() == plan_to_json(rows)
        bucket.put("a/1.png", b"another")
        assert ask(server, "picture/0").status == 409
        bucket.put("a/1.png", encode(cloudy(1), "PNG"))
    assert read_plan(f"{bucket.work_dir}/plan.csv") == rows
    assert call("apply", f"{bucket.work_dir}/plan.csv", "--quarantine", f"{bucket.work_dir}-q", "--execute") == 0
    assert "Moved 1 image " in capsys.readouterr().out
    undo(f"{bucket.work_dir}-q")


@pytest.mark.parametrize(("flags", "opens"), [(["--open"], True), (["--no-open"], False), ([], False)])
def test_the_page_is_opened_if_asked_for_but_not_by_default_without_a_terminal(flags, opens, out, monkeypatch, capsys):
    opened: list[str] = []

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(webbrowser, "open", lambda url: opened.append(url) or True)
    monkeypatch.setattr(ReportServer, "serve_forever", stop)
    monkeypatch.setenv("DISPLAY", ":0")
    assert call("serve", out, *flags) == 0
    address = capsys.readouterr().out.splitlines()[0].removeprefix("Report: ")
    assert opened == ([address] if opens else [])
