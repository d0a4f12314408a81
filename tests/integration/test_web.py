"""Images at https:// addresses, on a web server with TLS."""

import io
import time
import zipfile
from collections.abc import Iterator

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fastdup_ray import RunConfig
from fastdup_ray.common import ranged_file
from fastdup_ray.doctor.connectivity import check_input
from fastdup_ray.doctor.findings import State
from fastdup_ray.errors import BadImageError, ConfigError, ErrorCode, InputError
from fastdup_ray.inputs import list_images, read_entry, stat
from fastdup_ray.runs.estimate import estimate_run
from fastdup_ray.web import addresses, requests
from tests.helpers.images import cloudy, encode
from tests.helpers.runs import run_inline
from tests.helpers.videos import make_clip
from tests.helpers.web_server import WebServer, send

IMAGES = {f"/{seed}.jpg": encode(cloudy(seed), "JPEG", quality=90) for seed in (0, 1, 2)}
QUICK = {"report": False, "verify": "off"}


@pytest.fixture(scope="module")
def certified(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebServer]:
    server = WebServer(tmp_path_factory.mktemp("web"))
    yield server
    server.stop()


@pytest.fixture
def server(certified: WebServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[WebServer]:
    """This process trusts the server, and may read from it although it is on this machine."""
    monkeypatch.setenv("SSL_CERT_FILE", str(certified.certificate))
    monkeypatch.setenv(requests.PRIVATE_HOSTS, "images.example, localhost")
    certified.files.clear()
    certified.requests.clear()
    forget()
    yield certified
    forget()


def forget() -> None:
    """As in a process that has just begun."""
    requests._make_pools.cache_clear()
    addresses._did_exist.cache_clear()


def listed(location: object) -> list[str]:
    return [ref.uri for ref in list_images(RunConfig.of(input_dir=str(location), work_dir="unused"))]


def refused(ref) -> ErrorCode:
    with pytest.raises(BadImageError) as refusal:
        read_entry(ref)
    return refusal.value.code


def refused_address(address: str) -> ErrorCode:
    ref = stat(address)
    assert (ref.size, ref.mtime_or_etag) == (0, "")
    return refused(ref)


def test_a_list_of_addresses_gives_what_the_files_give(server, tmp_path):
    addresses = [server.put(path, data) for path, data in IMAGES.items()]
    addresses += [server.put("/show?id=3&size=full", IMAGES["/0.jpg"]), f"{server.address}/missing.jpg"]
    (tmp_path / "list.txt").write_text("\n".join(addresses))
    config = RunConfig.of(input_dir=str(tmp_path / "list.txt"), work_dir=str(tmp_path / "out"), **QUICK)
    result = run_inline(config.input_dir, tmp_path / "out", **QUICK)
    assert (result.counts["entries"], result.counts["images"], result.counts["bad"]) == (5, 4, 1)
    assert result.exact_copies["filename"].to_pylist()
    manifest = {row["uri"]: row for row in pq.read_table(tmp_path / "out/manifest.parquet").to_pylist()}
    assert list(manifest) == addresses
    assert manifest[addresses[4]]["error_code"] == "MISSING"
    assert [manifest[each]["size"] for each in addresses[:3]] == list(map(len, IMAGES.values()))
    estimate = estimate_run(config)
    assert (estimate.to_read, estimate.bytes_to_read) == (1, 0)  # the missing one is tried again


def test_a_column_of_addresses_is_read(server, tmp_path):
    addresses = [server.put(path, data) for path, data in IMAGES.items()]
    pq.write_table(pa.table({"url": addresses, "caption": ["a", "b", "c"]}), tmp_path / "part.parquet")
    assert listed(tmp_path / "part.parquet") == addresses
    (tmp_path / "list.csv").write_text("caption,url\n" + "".join(f"x,{address}\n" for address in addresses))
    assert listed(tmp_path / "list.csv") == addresses


def test_one_address_is_an_image_or_an_archive_or_a_list(server):
    image = server.put("/a.jpg", IMAGES["/0.jpg"])
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("b.jpg", IMAGES["/1.jpg"])
    assert listed(image) == [image]
    assert listed(server.put("/list", f"{image}\n".encode())) == [image]
    (member,) = list_images(RunConfig.of(input_dir=server.put("/images.zip", content.getvalue()), work_dir="unused"))
    assert member.uri == f"{server.address}/images.zip!/b.jpg"
    assert read_entry(member) == IMAGES["/1.jpg"]


def test_frames_of_a_video_are_images(server, tmp_path):
    address = server.put("/clip.mp4", make_clip(tmp_path / "clip.mp4", seconds=2).read_bytes())
    (tmp_path / "list").write_text(f"{address}\n")
    result = run_inline(tmp_path / "list", tmp_path / "out", **QUICK)
    assert result.images["filename"].to_pylist() == [f"{address}#t=0.000", f"{address}#t=1.000"]
    assert read_entry(stat(f"{address}#t=1.000")) == (tmp_path / "clip.mp4").read_bytes()
    image = server.put("/a.jpg", IMAGES["/0.jpg"])
    assert read_entry(stat(f"{image}#top")) == IMAGES["/0.jpg"]


def test_what_is_no_file_cannot_be_an_input(server):
    for address in (f"{server.address}/folder/", f"{server.address}/missing.jpg"):
        with pytest.raises(InputError, match="404"):
            run_inline(address, "unused")
    assert check_input(f"{server.address}/folder/").state is State.BROKEN
    assert check_input(server.put("/a.jpg", b"")).state is State.OK


def test_redirects_are_followed_to_https_alone(server):
    image = server.put("/a.jpg", IMAGES["/0.jpg"])

    def to(target: str) -> str:
        path = f"/to/{len(server.files)}"
        return server.put(path, lambda *_: (302, {"Location": target}, b""))

    ref = stat(to("/a.jpg"))
    assert ref.size == len(IMAGES["/0.jpg"])
    assert read_entry(ref) == IMAGES["/0.jpg"]
    assert read_entry(stat(to(to(image)))) == IMAGES["/0.jpg"]
    assert refused_address(to(image.replace("https", "http"))) == ErrorCode.UNREADABLE
    assert refused_address(to("file:///etc/passwd")) == ErrorCode.UNREADABLE
    server.put("/loop", lambda *_: (302, {"Location": "/loop"}, b""))
    assert refused_address(f"{server.address}/loop") == ErrorCode.READ_FAILED
    assert server.requests["GET", "/loop"] == requests.MOST_REDIRECTS + 1


@pytest.mark.parametrize(
    ("status", "code"),
    [(404, "MISSING"), (410, "MISSING"), (401, "UNREADABLE"), (403, "UNREADABLE"), (400, "READ_FAILED")],
)
def test_each_refusal_has_its_code(server, status, code):
    address = server.put("/refused.jpg", lambda *_: (status, {}, b"no"))
    assert refused_address(address) == code


def test_a_busy_server_is_asked_again(server, caplog):
    answers = iter([503, 429, 200])

    def busy(_: str, headers: dict[str, str]):
        status = next(answers)
        return send(b"image", headers) if status == 200 else (status, {"Retry-After": "3600"}, b"")

    ref = stat(server.put("/a.jpg", b"image"))
    server.put("/a.jpg", busy)
    begun = time.monotonic()
    assert read_entry(ref) == b"image"
    assert time.monotonic() - begun < 30
    assert not caplog.records  # a library that repeats requests would log whole addresses


def test_a_broken_answer_is_asked_for_again(server):
    calls = []

    def broken(_: str, headers: dict[str, str]):
        calls.append(1)
        status, told, body = send(b"0123456789", headers)
        return status, told | {"Content-Length": "10", "Connection": "close"}, body[:4] if len(calls) < 2 else body

    ref = stat(server.put("/a.jpg", b"0123456789"))
    server.put("/a.jpg", broken)
    assert read_entry(ref) == b"0123456789"
    assert len(calls) == 2


def test_a_file_that_changed_is_bad(server):
    ref = stat(server.put("/a.jpg", b"one"))
    server.put("/a.jpg", b"two")
    assert refused(ref) == ErrorCode.CHANGED


def test_a_server_that_does_not_answer_head_is_asked_for_one_byte(server):
    def no_head(method: str, headers: dict[str, str]):
        return (405, {}, b"") if method == "HEAD" else send(b"0123456789", headers)

    ref = stat(server.put("/a.jpg", no_head))
    assert ref.size == 10
    assert read_entry(ref) == b"0123456789"


def test_a_file_without_a_version_is_read_each_time(server):
    address = server.put("/a.jpg", lambda *_: (200, {}, b"image"))
    first, second = stat(address), stat(address)
    assert read_entry(first) == read_entry(second) == b"image"
    assert first.mtime_or_etag != second.mtime_or_etag


@pytest.mark.parametrize("told", ["5", "0"])
def test_a_server_that_sends_more_than_it_said_is_cut_off(server, monkeypatch, told):
    monkeypatch.setattr(addresses, "READ_AT_ONCE", 1000)

    def endless(method: str, _: dict[str, str]):
        body = b"x" * 100_000
        return 200, {"ETag": '"1"', "Content-Length": told if method == "HEAD" else str(len(body))}, body

    assert refused(stat(server.put("/a.jpg", endless))) == ErrorCode.TOO_LARGE


def test_large_files_are_read_in_ranges_or_not_at_all(server, monkeypatch):
    data = bytes(range(256)) * 8000
    monkeypatch.setattr(addresses, "READ_AT_ONCE", 1000)
    assert read_entry(stat(server.put("/large.jpg", data))) == data
    assert server.requests["GET", "/large.jpg"] >= len(data) / ranged_file.LARGEST_CHUNK
    whole = server.put("/whole.jpg", lambda *_: (200, {"ETag": '"1"'}, data))
    assert refused(stat(whole)) == ErrorCode.UNSUPPORTED


def test_private_networks_are_not_read(server, monkeypatch, tmp_path):
    address = server.put("/a.jpg", IMAGES["/0.jpg"])
    monkeypatch.setenv(requests.PRIVATE_HOSTS, "images.example")
    forget()
    assert refused_address(address) == ErrorCode.UNREADABLE
    assert not server.requests
    (tmp_path / "list").write_text(f"{address}\n")
    with pytest.raises(InputError, match="private network"):
        run_inline(tmp_path / "list", tmp_path / "out")


@pytest.mark.parametrize(
    ("address", "public"),
    [
        *(("127.0.0.1", False), ("10.1.2.3", False), ("192.168.0.1", False), ("169.254.169.254", False)),
        *(("::1", False), ("fe80::1%eth0", False), ("fd00::1", False), ("::ffff:10.0.0.1", False), ("0.0.0.0", False)),
        *(("100.64.0.1", False), ("224.0.0.1", False), ("8.8.8.8", True), ("2606:4700::1111", True)),
    ],
)
def test_private_addresses_are_known(address, public):
    assert requests.is_public(address) is public


def test_a_certificate_that_is_not_trusted_is_refused(server, monkeypatch):
    address = server.put("/a.jpg", b"image")
    monkeypatch.delenv("SSL_CERT_FILE")
    forget()
    assert refused_address(address) == ErrorCode.READ_FAILED
    assert not server.requests


def test_a_server_that_does_not_answer_holds_no_listing_up(server, monkeypatch):
    monkeypatch.setattr(addresses, "LONGEST_LOOK", 0.2)
    address = server.put("/a.jpg", lambda *_: time.sleep(3) or (200, {}, b""))
    begun = time.monotonic()
    assert stat(address).mtime_or_etag == ""
    assert time.monotonic() - begun < 2


@pytest.mark.parametrize(
    "rest",
    ["", "/a.jpg", "[::1/a.jpg", "localhost:99999/a.jpg", "localhost:x/a.jpg", "a" * 70 + ".example/a", "a..b/c"],
)
def test_an_address_that_no_server_can_have_is_bad(server, rest):
    assert refused_address(f"https://{rest}") == ErrorCode.READ_FAILED


def test_odd_headers_are_taken_for_none(server):
    told = {"ETag": '"' + "x" * 5000 + ': \xe9"', "Content-Length": "9" * 30, "Connection": "close"}
    ref = stat(server.put("/a.jpg", lambda *_: (200, told, b"")))
    assert ref.size == 0
    assert 0 < len(ref.mtime_or_etag) <= 128
    to = {"Location": "https://[", "Connection": "close"}
    assert refused_address(server.put("/b.jpg", lambda *_: (302, to, b""))) == ErrorCode.READ_FAILED


def test_plain_http_is_refused(tmp_path):
    (tmp_path / "list").write_text("http://localhost/a.jpg\n")
    with pytest.raises(InputError):
        listed(tmp_path / "list")
    with pytest.raises(ConfigError):
        RunConfig.of(input_dir="http://localhost/a.jpg")


def test_a_signature_is_a_part_of_the_name_and_not_of_messages(server, tmp_path):
    address = server.put("/gone.jpg?X-Amz-Signature=abcdef", lambda *_: (404, {}, b""))
    (tmp_path / "list").write_text(f"{address}\n")
    with pytest.raises(InputError) as refusal:
        run_inline(tmp_path / "list", tmp_path / "out")
    assert "abcdef" not in str(refusal.value)
    assert listed(tmp_path / "list") == [address]
