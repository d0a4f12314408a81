"""Buckets, on a real S3 server: as inputs, as work_dir, de-duplicated again and again."""

import gzip
import io
import json
import os
import pickle
import signal
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.orc
import pyarrow.parquet as pq
import pytest

import fastdup_ray as fastdup
from fastdup_ray import RunConfig, deduplicate, s3
from fastdup_ray.common import locations
from fastdup_ray.common.access import DEFAULT_ACCESS
from fastdup_ray.common.ref_tables import make_ref_tables
from fastdup_ray.common.requests import count_requests_made
from fastdup_ray.errors import ConfigError, InputError, LockedError, WorkDirError
from fastdup_ray.inputs import check_inputs, list_file, list_images, read_entry
from fastdup_ray.runs.estimate import estimate_run
from fastdup_ray.s3 import listing, upload
from fastdup_ray.s3 import objects as s3_inputs
from fastdup_ray.storage import lock, open_store
from tests.checker import check
from tests.conftest import forget_s3
from tests.helpers.commands import call, parse_counts, run
from tests.helpers.images import cloudy, encode
from tests.helpers.locks import count_holders
from tests.helpers.runs import EVERY_FILE, PHOTOS, SAME_BYTES, outputs, run_inline
from tests.helpers.s3_keys import lister_of
from tests.helpers.s3_server import OPEN, PUBLIC, SECRET, WORK, Bucket
from tests.helpers.tables import write_arrow, write_parquet

JOB = Path(__file__).parents[2] / "jobs" / "rededupe_s3.py"


def picture(seed: int) -> bytes:
    return encode(cloudy(seed), "JPEG", quality=90)


def put_pictures(bucket: Bucket, count: int) -> list[str]:
    return [bucket.put(f"{seed:03d}.jpg", picture(seed)) for seed in range(count)]


def listed(place: str, **parameters) -> list[str]:
    config = RunConfig.of(input_dir=place, work_dir="unused", **parameters)
    return [ref.uri for ref in list_images(config)]


def bad_of(result) -> dict[str, str]:
    """Name -> code."""
    rows = pq.read_table(open_store(result.work_dir).fetch("manifest.parquet")).to_pylist()
    return {row["uri"]: row["error_code"] for row in rows if row["error_code"]}


def messages_of(result) -> dict[str, str]:
    rows = pq.read_table(open_store(result.work_dir).fetch("manifest.parquet")).to_pylist()
    return {row["uri"]: row["error_message"] for row in rows if row["error_code"]}


# --- inputs -----------------------------------------------------------------------------------------------------------


def test_a_bucket_gives_what_the_same_folder_gives(bucket, finished):
    bucket.put_folder(PHOTOS)
    run_inline(bucket.pictures, bucket.work_dir)
    assert bucket.output("features.dat") == (finished / "features.dat").read_bytes()
    for name in ("features.dat.csv", "features.bad.csv", "similarity.csv", "outliers.csv", "exact_copies.csv"):
        local = (finished / name).read_bytes().replace(os.fsencode(PHOTOS), bucket.pictures.encode())
        assert bucket.output(name) == local


@pytest.mark.parametrize(
    "name",
    ["a b.jpg", "ä ö+%20&=?#.jpg", "quote\"'.jpg", "tab\tline\nend.jpg", "日本/語.jpg", "x!/y.jpg", "c#t=1.000.jpg"],
)
def test_a_key_may_have_any_character(bucket, name):
    bucket.put(name, picture(0))
    result = run_inline(bucket.pictures, bucket.work_dir)
    assert result.counts["images"] == 1
    assert result.images["filename"].to_pylist() == [bucket.uri(name)]


MANY = {
    "folders": [f"{part}/{seed:02d}.jpg" for part in ("a", "b/c", "b/d", "e", "é", "z") for seed in range(12)]
    + ["0.jpg", "b.jpg", "zz.jpg"],
    "one folder": [f"IMG_{seed:03d}.jpg" for seed in range(60)] + ["IMG_é.jpg"],
    "numbers": [f"IMG_{seed:03d}{end}.jpg" for seed in range(60) for end in ("", "x", "/y")],
    "one name is the beginning of all": ["a.jpg", *(f"a.jpg{seed:02d}.jpg" for seed in range(30))],
    "forms that obstore refuses": [f"{seed:02d}\x01.jpg" for seed in range(30)] + ["b.jpg"],
}


@pytest.mark.parametrize("names", MANY.values(), ids=MANY.keys())
@pytest.mark.parametrize("most", [2, 100])
def test_all_that_a_bucket_holds_is_listed_in_the_order_of_its_keys(bucket, monkeypatch, names, most):
    monkeypatch.setattr(listing, "MOST_FOLDERS", most)
    monkeypatch.setattr(s3, "PAGE", 10)
    prefix = bucket.pictures.partition(f"{OPEN}/")[2]
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda name: bucket.client.put_object(Bucket=OPEN, Key=f"{prefix}/{name}", Body=b"."), names))
    keys = [facts["Key"] for facts in bucket.client.list_objects_v2(Bucket=OPEN, Prefix=f"{prefix}/")["Contents"]]
    assert len(keys) == len(names)  # a server may write some of them in another way
    found = [ref.uri for ref in listing.list_below(bucket.pictures, lambda uri: True, DEFAULT_ACCESS)]
    assert found == sorted((f"s3://{OPEN}/{key}" for key in keys), key=str.encode)  # and each of them once


def test_very_many_keys_in_one_folder_are_listed_side_by_side(bucket, monkeypatch):
    monkeypatch.setattr(s3, "PAGE", 10)
    for seed in range(0, 1000, 30):
        bucket.put(f"IMG_{seed:03d}.jpg", b".")
    asked = []
    monkeypatch.setattr(listing, "_list_by_obstore", lambda _, share, access: asked.append(share.start) or iter(()))
    list(listing.list_below(bucket.pictures, bool, DEFAULT_ACCESS))
    assert [start.rpartition("/")[2] for start in sorted(asked)] == [f"IMG_{digit}" for digit in range(10)]


ODD_KEYS = (
    "a/x//b.jpg",
    "/lead.jpg",
    "d.jpg/",
    "a/../b.jpg",
    "a/./x.jpg",
    "m\rn.jpg",
    "d.jpg/e.jpg",
    "d.jpg",
    "f.jpg/",
)
NUMBERED = tuple(f"q{seed:02d}.jpg" for seed in range(30))


@pytest.mark.parametrize("keys", [ODD_KEYS, ODD_KEYS[3:], (*ODD_KEYS, *NUMBERED), ("f.jpg/", "f.jpg/a.jpg", *NUMBERED)])
@pytest.mark.parametrize("place", ["", "all/", "deep/er/"])
@pytest.mark.parametrize("most", [1, 100])
def test_any_key_that_s3_allows_is_listed_once_and_what_stands_for_a_folder_is_none(monkeypatch, keys, place, most):
    """Tools that show buckets as folders make empty objects whose names end in a slash."""
    monkeypatch.setattr(listing, "MOST_FOLDERS", most)
    monkeypatch.setattr(s3, "PAGE", 5)
    with served(lister_of([place + key for key in keys]), monkeypatch):
        found = [ref.uri for ref in listing.list_below(f"s3://bucket/{place}", lambda uri: True, DEFAULT_ACCESS)]
    assert found == sorted((f"s3://bucket/{place}{key}" for key in keys if key[-1] != "/"), key=str.encode)


def test_requests_are_counted_whoever_makes_them(monkeypatch):
    monkeypatch.setattr(s3, "PAGE", 5)
    keys = [f"{folder}/{seed}.jpg" for folder in "ab" for seed in range(12)]
    with served(lister_of(keys), monkeypatch):
        before = count_requests_made()
        list(listing.list_below("s3://bucket", lambda uri: True, DEFAULT_ACCESS))
    assert count_requests_made() - before >= 1 + 3 + 3  # the folders, and the pages of each


@pytest.mark.parametrize("order", [str.encode, lambda key: key.encode("utf-16-be")], ids=["UTF-8", "UTF-16"])
def test_in_whatever_order_a_server_sorts_nothing_is_lost(monkeypatch, order):
    monkeypatch.setattr(s3, "PAGE", 5)
    keys = [f"{start}{seed}.jpg" for start in ("a", "a\uffee", "b", "\uffee", "\U0001f600") for seed in range(9)]
    with served(lister_of(keys, order), monkeypatch):
        found = [ref.uri for ref in listing.list_below("s3://bucket", lambda uri: True, DEFAULT_ACCESS)]
    assert found == sorted((f"s3://bucket/{key}" for key in keys), key=str.encode)


def test_hidden_objects_other_suffixes_and_the_work_dir_are_left_out(bucket):
    for name in ("a.jpg", ".hidden.jpg", ".b/c.jpg", "d/.e/f.jpg", "notes.txt", "out/g.jpg", "outside/h.jpg"):
        bucket.put(name, picture(0))
    config = RunConfig.of(input_dir=bucket.pictures, work_dir=bucket.uri("out"))
    assert [ref.uri for ref in list_images(config)] == [bucket.uri("a.jpg"), bucket.uri("outside/h.jpg")]


def test_the_work_dir_itself_is_read_but_for_what_runs_write(bucket):
    for name in ("photos/a.jpg", "photos/b.jpg", "photos/map.svg", "photos/@eaDir/a.jpg"):
        bucket.put(name, picture(ord(name[-5])))
    work_dir = bucket.uri("photos")
    first = run_inline(work_dir, work_dir)
    again = run_inline(f"{work_dir}/", work_dir)
    for result in (first, again):
        assert result.images["filename"].to_pylist() == [bucket.uri("photos/a.jpg"), bucket.uri("photos/b.jpg")]
        assert result.summary["skipped"] == {".svg": 1}
    assert again.summary["read"] == 0
    config = RunConfig.of(input_dir=work_dir, work_dir=bucket.pictures)
    assert len(list(list_images(config))) == 2


def test_a_prefix_is_a_folder_not_the_beginning_of_a_name(bucket):
    for name in ("photos/a.jpg", "photos2/b.jpg", "photos.jpg"):
        bucket.put(name, picture(0))
    assert listed(bucket.uri("photos")) == listed(bucket.uri("photos/")) == [bucket.uri("photos/a.jpg")]


def test_include_and_exclude_are_of_the_key_below_the_prefix(bucket):
    for name in ("a/x.jpg", "a/y.png", "b/z.jpg"):
        bucket.put(name, picture(0))
    assert listed(bucket.pictures, include="*.jpg", exclude="b/**") == [bucket.uri("a/x.jpg")]


def test_one_object_is_an_input(bucket):
    assert listed(bucket.put("one", picture(0))) == [bucket.uri("one")]


@pytest.mark.parametrize("place", ["here", "there"])
def test_a_list_names_objects_be_it_a_file_or_an_object(bucket, tmp_path, place):
    uris = put_pictures(bucket, 3)
    text = "\n".join([*reversed(uris), uris[0], bucket.uri("gone.jpg")])
    (tmp_path / "list").write_text(text)
    source = str(tmp_path / "list") if place == "here" else bucket.put("list.txt", text.encode())
    result = run_inline(source, bucket.work_dir)
    assert result.images["filename"].to_pylist() == list(reversed(uris))
    assert bad_of(result) == {bucket.uri("gone.jpg"): "MISSING"}


def test_objects_may_be_named_one_by_one(bucket, monkeypatch):
    uris = put_pictures(bucket, 5)
    monkeypatch.setattr(list_file, "open_list", None)  # none is opened to see what it is
    assert listed([*reversed(uris), bucket.uri("gone.jpg")]) == [*reversed(uris), bucket.uri("gone.jpg")]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_a_list_of_objects_is_written_in_any_way(bucket, encoding):
    uris = [bucket.put(f"{seed}, née.jpg", picture(seed)) for seed in range(2)]
    for rows in (["label;URL", *(f"x;{uri}" for uri in uris)], [f'"{uri}"' for uri in uris], [f"{u} " for u in uris]):
        assert listed(bucket.put("list.csv", "\r\n".join(rows).encode(encoding))) == uris
    assert listed(bucket.put("list", "\0".join(uris).replace("s3:", "s3a:").encode())) == uris


def test_members_of_an_archive_in_a_bucket_are_read(bucket):
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for seed in range(3):
            member = tarfile.TarInfo(f"inner/{seed}.jpg")
            member.size = len(picture(seed))
            archive.addfile(member, io.BytesIO(picture(seed)))
    uri = bucket.put("shard.tar", file.getvalue())
    result = run_inline(bucket.pictures, bucket.work_dir)
    assert result.images["filename"].to_pylist() == [f"{uri}!/inner/{seed}.jpg" for seed in range(3)]


def test_rows_of_a_parquet_file_in_a_bucket_are_read(bucket, tmp_path):
    table = pa.table({"image": [picture(seed) for seed in range(30)], "name": [f"{n}.jpg" for n in range(30)]})
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=8)
    place = bucket.put("a.parquet", (tmp_path / "a.parquet").read_bytes())
    result = run_inline(place, tmp_path / "out", report=False)
    assert result.images["filename"].to_pylist() == [f"{place}!/{row:08d}" for row in range(30)]
    assert result.counts["bad"] == 0
    local = run_inline(tmp_path / "a.parquet", tmp_path / "local", report=False)
    assert result.images["sha256"].equals(local.images["sha256"])


def test_a_dataset_in_a_bucket_is_read_by_its_splits(bucket, tmp_path):
    parts = {"train-00000-of-00002": 4, "train-00001-of-00002": 2, "test-00000-of-00001": 3}
    for name, rows in parts.items():
        bucket.put(f"hub/data/{name}.parquet", write_parquet(tmp_path / "a.parquet", rows=rows).read_bytes())
    bucket.put("saved/data-00000-of-00001.arrow", write_arrow(tmp_path / "a.arrow", 50).read_bytes())
    hub, saved = bucket.uri("hub"), bucket.uri("saved")
    assert [len(listed(place)) for place in (hub, f"{hub}/train", f"{hub}/data/test", saved)] == [9, 6, 3, 50]
    check_inputs(RunConfig.of(input_dir=f"{hub}/train", work_dir="unused"))
    bucket.put("other.parquet", (tmp_path / "a.parquet").read_bytes())
    assert [len(listed(bucket.pictures, **asked)) for asked in ({}, {"include": ["other.parquet"]})] == [59, 3]
    config = RunConfig.of(input_dir=saved, work_dir="unused")
    assert [read_entry(ref) for ref in list_images(config)][::10] == [picture(seed) for seed in range(0, 50, 10)]


def test_large_objects_are_got_in_parts(bucket, monkeypatch):
    data = np.random.default_rng(0).bytes(3_000_000)
    uri = bucket.put("large.bin", data)
    monkeypatch.setattr(s3_inputs, "READ_AT_ONCE", 1000)
    with s3_inputs.open_entry(s3_inputs.stat(uri, DEFAULT_ACCESS), DEFAULT_ACCESS) as file:
        assert file.read(10) == data[:10]
        file.seek(-7, io.SEEK_END)
        assert file.read() == data[-7:]
        file.seek(1_000_000)
        assert file.read(1_500_000) == data[1_000_000:2_500_000]
        file.seek(0)
        assert file.read() == data


CSV_INVENTORY = "Bucket, Key, VersionId, IsLatest, IsDeleteMarker, Size, ETag"


@pytest.mark.parametrize("kind", ["CSV", "Parquet", "ORC"])
def test_an_inventory_is_a_list_of_the_current_versions(bucket, kind):
    uris = put_pictures(bucket, 2)
    refs = [s3_inputs.stat(uri, DEFAULT_ACCESS) for uri in uris]
    keys = [uri.removeprefix(f"s3://{OPEN}/") for uri in uris]
    rows = [(OPEN, key, "", True, False, ref.size, ref.mtime_or_etag) for key, ref in zip(keys, refs, strict=True)]
    rows += [(OPEN, keys[0], "1", False, False, 5, "old"), (OPEN, keys[1] + "x.jpg", "2", True, True, None, None)]
    rows += [(OPEN, "notes.txt", "", True, False, 5, "x")]
    if kind == "CSV":
        lines = [
            ",".join(f'"{"" if v is None else str(v).lower() if v in (True, False) else v}"' for v in row)
            for row in rows
        ]
        data = gzip.compress("\n".join(lines).encode())
    else:
        columns = [list(column) for column in zip(*rows, strict=True)]
        names = ["bucket", "key", "version_id", "is_latest", "is_delete_marker", "size", "e_tag"]
        file = pa.BufferOutputStream()
        (pq.write_table if kind == "Parquet" else pa.orc.write_table)(pa.table(columns, names), file)
        data = file.getvalue().to_pybytes()
    file = bucket.put("inventory/data/part", data).removeprefix(f"s3://{OPEN}/")
    manifest = {"sourceBucket": OPEN, "destinationBucket": f"arn:aws:s3:::{OPEN}", "fileFormat": kind}
    manifest |= {"fileSchema": CSV_INVENTORY, "files": [{"key": file, "size": len(data)}]}
    source = bucket.put("inventory/manifest.json", json.dumps(manifest).encode())
    assert list(list_images(RunConfig.of(input_dir=source, work_dir="unused"))) == refs
    result = run_inline(source, bucket.work_dir)
    assert result.counts["images"] == 2
    assert run_inline(bucket.pictures, bucket.work_dir).summary["read"] == 0  # the same tokens as in a listing


def test_what_is_no_inventory_is_told(bucket):
    source = bucket.put("manifest.json", b'{"no": "inventory"}')
    with pytest.raises(InputError, match="not the manifest of an S3 Inventory"):
        listed(source)


def test_the_current_version_of_a_versioned_object_is_read(bucket):
    bucket.client.put_bucket_versioning(Bucket=SECRET, VersioningConfiguration={"Status": "Enabled"})
    for seed in (0, 1):
        bucket.client.put_object(Bucket=SECRET, Key="versions/a.jpg", Body=picture(seed))
    bucket.client.put_object(Bucket=SECRET, Key="versions/b.jpg", Body=picture(1))
    bucket.client.put_object(Bucket=SECRET, Key="versions/c.jpg", Body=picture(2))
    bucket.client.delete_object(Bucket=SECRET, Key="versions/c.jpg")
    result = run_inline(f"s3://{SECRET}/versions", bucket.work_dir)
    assert result.counts["images"] == 2
    assert result.counts["exact_copies"] == 1


# --- what goes wrong --------------------------------------------------------------------------------------------------


def test_a_bucket_that_does_not_exist_is_told_before_any_work(bucket):
    with pytest.raises(InputError, match="bucket 'no-such-bucket' does not exist"):
        run_inline("s3://no-such-bucket/x", bucket.work_dir)
    assert bucket.outputs() == {}


def test_a_bucket_that_may_not_be_listed_is_told_before_any_work(bucket, as_user):
    put_pictures(bucket, 1)
    as_user("blind")
    with pytest.raises(InputError, match=r"cannot be listed .*AccessDenied"):
        run_inline(bucket.pictures, bucket.work_dir)
    assert bucket.outputs() == {}


def test_objects_that_may_be_got_but_not_listed_can_be_named(bucket, as_user, tmp_path):
    (tmp_path / "list").write_text("\n".join(put_pictures(bucket, 2)))
    as_user("blind")
    assert run_inline(str(tmp_path / "list"), tmp_path / "out").counts["images"] == 2


def test_wrong_credentials_end_the_run_with_one_line(bucket, monkeypatch, capsys, tmp_path):
    put_pictures(bucket, 1)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    forget_s3()
    assert call("run", bucket.pictures, "--work-dir", tmp_path / "out", "--executor", "inline") == 1
    told = capsys.readouterr().err.splitlines()
    assert len(told) == 1
    assert "refuses the credentials" in told[0]
    assert "SignatureDoesNotMatch" in told[0]
    assert "wrong" not in told[0]
    assert not (tmp_path / "out").exists()


def test_credentials_stand_in_no_output(bucket):
    put_pictures(bucket, 2)
    run_inline(bucket.pictures, bucket.work_dir, incremental=True)
    assert not any(b"owner-secret" in data for data in bucket.outputs().values())


def test_objects_that_vanish_change_or_are_forbidden_are_bad_with_their_reason(bucket, monkeypatch, tmp_path):
    uris = put_pictures(bucket, 4)
    forbidden = f"s3://{SECRET}/forbidden.jpg"
    before = list(list_images(RunConfig.of(input_dir=bucket.pictures, work_dir="unused")))
    before += [s3_inputs.make_ref(forbidden, {"Size": 5, "ETag": '"x"'})]
    monkeypatch.setattr("fastdup_ray.runs.preflight.list_tables", lambda config, skipped: make_ref_tables(before))
    bucket.delete("000.jpg")
    bucket.put("001.jpg", picture(9))
    for name, value in bucket.server.environment("reader").items():
        monkeypatch.setenv(name, value)
    forget_s3()
    result = run_inline(bucket.pictures, tmp_path / "out")
    assert bad_of(result) == {uris[0]: "MISSING", uris[1]: "CHANGED", forbidden: "UNREADABLE"}
    assert "permission" in messages_of(result)[forbidden]
    assert result.counts["images"] == 2


LONG_AGO = "Thu, 01 Jan 2026 00:00:00 GMT"


@contextmanager
def served(handler: type[BaseHTTPRequestHandler], monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """S3 is a server of our own, for what no free one does."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    names = ("ENDPOINT_URL", "ACCESS_KEY_ID", "SECRET_ACCESS_KEY", "DEFAULT_REGION")
    for name, value in zip(names, (f"http://127.0.0.1:{server.server_port}", "x", "y", "us-east-1"), strict=True):
        monkeypatch.setenv(f"AWS_{name}", value)
    forget_s3()
    try:
        yield
    finally:
        server.shutdown()
        forget_s3()


def test_objects_in_glacier_are_bad_with_the_reason(monkeypatch, tmp_path):
    """No free server has such objects: this one answers what S3 documents for them."""

    class Glacier(BaseHTTPRequestHandler):
        def answer(self, status: int, body: bytes = b"", **headers: str) -> None:
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(name.replace("_", "-"), value)
            self.end_headers()
            self.wfile.write(body if self.command != "HEAD" else b"")

        def do_HEAD(self) -> None:
            self.answer(200, ETag='"abc"', x_amz_storage_class="GLACIER")

        def do_GET(self) -> None:
            error = "<Error><Code>InvalidObjectState</Code><Message>The operation is not valid for the object's "
            error += "storage class</Message><StorageClass>GLACIER</StorageClass></Error>"
            self.answer(403, error.encode())

        def log_message(self, *args: object) -> None:
            pass

    (tmp_path / "list").write_text(f"s3://b/frozen.jpg\n{PHOTOS}/originals/cat.jpg\n")
    with served(Glacier, monkeypatch):
        result = run_inline(str(tmp_path / "list"), tmp_path / "out")
    assert bad_of(result) == {"s3://b/frozen.jpg": "UNREADABLE"}
    assert "GLACIER" in messages_of(result)["s3://b/frozen.jpg"]
    assert "restore it first" in messages_of(result)["s3://b/frozen.jpg"]


@pytest.mark.parametrize("asked", [True, False])
def test_a_public_bucket_needs_no_credentials(bucket, asked, monkeypatch, tmp_path):
    bucket.client.put_object(Bucket=PUBLIC, Key="free/a.jpg", Body=picture(0))
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    forget_s3()
    result = run_inline(f"s3://{PUBLIC}/free", tmp_path / "out", s3_anonymous=asked)
    assert result.counts["images"] == 1


def test_who_pays_is_said_in_every_request_for_objects(monkeypatch, tmp_path):
    said = []

    class Listening(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            said.append((self.path, self.headers.get("x-amz-request-payer")))
            body = picture(0)
            self.send_response(200)
            for name, value in {"Content-Length": str(len(body)), "ETag": '"e"', "Last-Modified": LONG_AGO}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body if self.command == "GET" else b"")

        do_HEAD = do_GET

        def log_message(self, *args: object) -> None:
            pass

    (tmp_path / "list").write_text("s3://b/k.jpg\n")
    with served(Listening, monkeypatch):
        result = run_inline(str(tmp_path / "list"), tmp_path / "out", s3_requester_pays=True, report=False)
    assert result.counts["images"] == 1
    of_object = [payer for path, payer in said if path.startswith("/b/k.jpg")]
    assert len(of_object) == 2
    assert set(of_object) == {"requester"}


def test_a_list_without_valid_credentials_ends_the_run_too(bucket, monkeypatch, tmp_path):
    (tmp_path / "list").write_text("\n".join(put_pictures(bucket, 2)))
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    forget_s3()
    with pytest.raises(InputError, match="refuses the credentials"):
        run_inline(str(tmp_path / "list"), tmp_path / "out")


def test_a_worker_without_credentials_ends_the_run_of_a_driver_that_has_some(bucket, monkeypatch, tmp_path):
    ref = s3_inputs.stat(put_pictures(bucket, 1)[0], DEFAULT_ACCESS)
    of_driver = pickle.loads(pickle.dumps(DEFAULT_ACCESS))
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    forget_s3()
    with pytest.raises(InputError, match="Unable to locate credentials"), s3_inputs.open_entry(ref, of_driver):
        pass


@pytest.mark.slow
def test_a_throttled_run_loses_no_object(bucket):
    uris = put_pictures(bucket, 150)

    def get(uri: str) -> str:
        try:
            bucket.server.client(retries={"total_max_attempts": 1}).get_object(Bucket=OPEN, Key=locations.split(uri)[1])
            return ""
        except Exception as error:
            return s3.get_error_code(error)

    with bucket.server.throttled(reads=2, writes=2):
        with ThreadPoolExecutor(16) as pool:
            assert "ErrTooManyRequest" in set(pool.map(get, uris))  # who does not try again is turned away
        done = run(bucket.pictures, "--work-dir", bucket.work_dir, "--shard-size", 40)
    assert done.returncode == 0, done.stderr
    assert parse_counts(done.stdout) == [150, 150, 0]


# --- the work_dir -----------------------------------------------------------------------------------------------------


def test_a_work_dir_in_a_bucket_has_every_file_and_nothing_else(bucket):
    put_pictures(bucket, 3)
    result = run_inline(bucket.pictures, bucket.work_dir)
    assert set(bucket.outputs()) == EVERY_FILE
    assert result.work_dir == bucket.work_dir
    assert result.similarity.num_rows == result.counts["pairs"]
    assert b"<html" in result.report.read_bytes()


def test_a_result_in_a_bucket_is_shown_and_searched_and_nothing_is_written(bucket):
    first, *_ = put_pictures(bucket, 3)
    run_inline(bucket.pictures, bucket.work_dir)
    result = fastdup.RunResult.open(bucket.work_dir)
    before = bucket.outputs()
    assert bucket.work_dir in repr(result)
    assert result.duplicates.num_rows == 0
    for image in (first, picture(0)):
        assert result.search(image, 1, verify=True).to_pylist() == [
            {"filename": first, "similarity": 1.0, "relation": "same"}
        ]
    with pytest.raises(InputError, match="gone"):
        result.search(bucket.uri("gone.jpg"))
    assert bucket.outputs() == before


def test_a_work_dir_in_a_bucket_has_the_bytes_of_a_local_one(bucket, tmp_path):
    put_pictures(bucket, 20)
    run_inline(bucket.pictures, tmp_path / "out")
    run_inline(bucket.pictures, bucket.work_dir)
    remote = bucket.outputs()
    assert {name: remote[name] for name in SAME_BYTES} == outputs(tmp_path / "out")


@pytest.mark.slow
def test_ray_gives_the_same_bytes_in_a_bucket(bucket, tmp_path):
    put_pictures(bucket, 20)
    run_inline(bucket.pictures, tmp_path / "out")
    done = run(bucket.pictures, "--work-dir", bucket.work_dir, "--shard-size", 6, "--executor", "ray")
    assert done.returncode == 0, done.stderr
    remote = bucket.outputs()
    assert {name: remote[name] for name in SAME_BYTES} == outputs(tmp_path / "out")


def test_ranges_scoring_and_features_in_a_bucket(bucket, tmp_path):
    put_pictures(bucket, 6)
    for low, high in ((0, 4), (4, 6)):
        run_inline(bucket.pictures, bucket.work_dir, run_mode=1, min_offset=low, max_offset=high)
    assert run_inline(None, bucket.work_dir, run_mode=2).counts["images"] == 6
    new = bucket.put("new/000.jpg", picture(0))
    scored = run_inline(bucket.uri("new"), bucket.work_dir, run_mode=3)
    assert scored.similarity.to_pylist()[0] == {"from": new, "to": bucket.uri("000.jpg"), "distance": 1.0}
    names, rows = fastdup.load_binary_feature(f"{bucket.work_dir}/features.dat")
    assert names == [bucket.uri(f"{seed:03d}.jpg") for seed in range(6)]
    assert rows.shape == (6, 576)
    page = fastdup.create_duplicates_gallery(work_dir=bucket.work_dir, save_path=tmp_path)
    assert "data:image/" in Path(page).read_text()


def test_a_bucket_that_cannot_be_written_is_told_before_any_work(bucket, as_user):
    put_pictures(bucket, 1)
    as_user("reader")
    with pytest.raises(WorkDirError, match=r"cannot be used .*AccessDenied"):
        run_inline(bucket.pictures, f"s3://{WORK}/x")
    with pytest.raises(WorkDirError, match="the bucket does not exist"):
        forget_s3()
        as_user("owner")
        run_inline(bucket.pictures, "s3://no-such-bucket/x")


def _process(code: str, *arguments: str) -> subprocess.Popen:
    return subprocess.Popen([sys.executable, "-c", code, *arguments], stdout=subprocess.PIPE, text=True)


HOLD = """
import sys, time
from fastdup_ray.storage import open_store
with open_store(sys.argv[1]).lock(".fastdup_ray.lock"):
    print("held", flush=True)
    time.sleep(100)
"""


def test_the_second_of_two_runs_ends_at_once_and_a_dead_one_is_taken_over(bucket, capsys):
    put_pictures(bucket, 2)
    first = _process(HOLD, bucket.work_dir)
    try:
        assert first.stdout.readline() == "held\n"
        assert call("run", bucket.pictures, "--work-dir", bucket.work_dir, "--executor", "inline") == 3
        told = capsys.readouterr().err
        assert "Another run is writing" in told
        assert f"process {first.pid}" in told
        assert set(bucket.outputs()) == {".fastdup_ray.lock"}
    finally:
        first.send_signal(signal.SIGKILL)
        first.wait()
    assert call("run", bucket.pictures, "--work-dir", bucket.work_dir, "--executor", "inline") == 0
    assert ".fastdup_ray.lock" not in bucket.outputs()


def test_a_lock_of_another_host_is_taken_over_when_it_gives_no_sign_of_life(bucket, monkeypatch):
    prefix = bucket.work_dir.partition(f"{WORK}/")[2]
    owner = {"host": "elsewhere", "pid": 1, "since": "2026-01-01", "started": "x"}
    bucket.client.put_object(Bucket=WORK, Key=f"{prefix}/lock", Body=json.dumps(owner).encode())
    store = open_store(bucket.work_dir)
    with pytest.raises(LockedError, match="host elsewhere"), store.lock("lock"):
        pass
    monkeypatch.setattr(lock, "STALE", 1.0)
    time.sleep(2.5)
    with store.lock("lock"):
        pass


def test_of_many_who_want_a_lock_at_once_one_gets_it(bucket):
    assert count_holders(lambda: open_store(bucket.work_dir).lock("lock")) == 1


def test_shared_locks_go_together_and_keep_an_exclusive_one_out(bucket):
    store = open_store(bucket.work_dir)
    other = open_store(bucket.work_dir)
    with (
        store.lock("lock", shared=True),
        other.lock("lock", shared=True),
        pytest.raises(LockedError),
        other.lock("lock"),
    ):
        pass
    with store.lock("lock"), pytest.raises(LockedError), other.lock("lock", shared=True):
        pass


def test_who_lost_its_lock_writes_nothing_more(bucket, monkeypatch):
    monkeypatch.setattr(lock, "BEAT", 0.1)
    prefix = bucket.work_dir.partition(f"{WORK}/")[2]
    store = open_store(bucket.work_dir)
    with store.lock("lock"):
        bucket.client.put_object(Bucket=WORK, Key=f"{prefix}/lock", Body=b"somebody else")
        time.sleep(1)
        with pytest.raises(LockedError, match="was lost"), store.create("x") as path:
            path.write_text("too late")
    assert bucket.outputs() == {"lock": b"somebody else"}


def test_a_put_whose_answer_was_lost_is_no_other_owner(bucket, monkeypatch):
    monkeypatch.setattr(lock, "BEAT", 0.1)
    put, calls = s3.get_client(DEFAULT_ACCESS).put_object, []

    def tried_twice(**request):
        """As botocore does where the first answer does not arrive."""
        calls.append(request["Key"])
        if isinstance(request["Body"], bytes):  # a file can be sent once
            put(**request)
        return put(**request)

    monkeypatch.setattr(s3.get_client(DEFAULT_ACCESS), "put_object", tried_twice)
    store = open_store(bucket.work_dir)
    with store.lock("lock"):
        time.sleep(0.5)
        with store.create("x") as path:
            path.write_text("still ours")
    assert len(calls) > 2
    assert bucket.outputs() == {"x": b"still ours"}


STOP = """
import os, signal, sys
from fastdup_ray import s3
from fastdup_ray.common.access import DEFAULT_ACCESS
from fastdup_ray.common.ref_tables import make_ref_tables
from fastdup_ray.storage import lock
lock.BEAT, lock.STALE = 0.2, 1.0
name = sys.argv[1]  # this process is stopped just before it puts this file
def stop(request, **_):
    if request.url.rpartition("/")[2] == name:
        os.kill(os.getpid(), signal.SIGSTOP)
s3.get_client(DEFAULT_ACCESS).meta.events.register("before-send.s3.PutObject", stop)
from fastdup_ray.cli.main import main
main(sys.argv[2:])
"""


@pytest.mark.slow
@pytest.mark.parametrize("name", ["features.dat.csv", "similarity.csv", "summary.json"])
def test_a_run_that_was_stopped_for_longer_than_its_lock_lives_changes_nothing_of_the_next(bucket, monkeypatch, name):
    put_pictures(bucket, 3)
    again = ["run", bucket.pictures, "--work-dir", bucket.work_dir, "--executor", "inline"]
    first = _process(STOP, name, *again)
    os.waitid(os.P_PID, first.pid, os.WSTOPPED | os.WNOWAIT)
    bucket.put("more.jpg", picture(0))
    monkeypatch.setattr(lock, "STALE", 1.0)
    monkeypatch.setattr(lock, "is_dead", lambda text: False)  # as on another host, where nobody can look
    time.sleep(2.5)
    assert call(*again) == 0
    whole = bucket.outputs()
    first.send_signal(signal.SIGCONT)
    assert first.wait() == 3
    assert bucket.outputs() == whole


def test_workers_of_a_run_that_lost_its_lock_write_nothing_more(bucket):
    prefix = bucket.work_dir.partition(f"{WORK}/")[2]
    store = open_store(bucket.work_dir)
    with store.lock("lock"):
        with store.create("x") as path:
            path.write_text("ours")
        worker = pickle.loads(pickle.dumps(store))
        bucket.client.put_object(Bucket=WORK, Key=f"{prefix}/lock", Body=b"somebody else")
        with pytest.raises(LockedError), worker.create("x") as path:
            path.write_text("too late")
        with pytest.raises(LockedError):
            worker.remove("x")
    assert bucket.outputs() == {"lock": b"somebody else", "x": b"ours"}


@pytest.mark.parametrize("size", [10, upload.PART + 10], ids=["whole", "in parts"])
def test_what_another_process_has_put_meanwhile_is_not_replaced(bucket, monkeypatch, size):
    store = open_store(bucket.work_dir)
    looked = store._get_etag

    def look_too_early(name: str) -> str | None:
        etag = looked(name)
        bucket.client.put_object(Bucket=WORK, Key=f"{bucket.work_dir.partition(f'{WORK}/')[2]}/{name}", Body=b"theirs")
        return etag

    with store.create("x") as path:
        path.write_bytes(bytes(size))
    assert store.fetch("x").stat().st_size == size
    monkeypatch.setattr(store, "_get_etag", look_too_early)
    for name in ("x", "y"):
        with pytest.raises(LockedError), store.create(name) as path:
            path.write_bytes(bytes(size))
    assert bucket.outputs() == {"x": b"theirs", "y": b"theirs"}


DIE = """
import os, signal, sys
from fastdup_ray import s3
from fastdup_ray.common.access import DEFAULT_ACCESS
from fastdup_ray.common.ref_tables import make_ref_tables
when = sys.argv[1]  # which put does not come about: the name, or the number
puts = 0
def count(request, **_):
    global puts
    puts += 1
    if when in (str(puts), request.url.rpartition("/")[2]):
        os.kill(os.getpid(), signal.SIGKILL)
s3.get_client(DEFAULT_ACCESS).meta.events.register("before-send.s3.PutObject", count)
from fastdup_ray.cli.main import main
main(sys.argv[2:])
"""


@pytest.mark.slow
def test_a_run_killed_between_two_puts_goes_on_to_the_same_bytes(bucket, tmp_path):
    put_pictures(bucket, 8)
    run_inline(bucket.pictures, tmp_path / "out", incremental=True)
    again = ["run", bucket.pictures, "--work-dir", bucket.work_dir, "--executor", "inline", "--shard-size", "4"]
    again += ["--incremental"]
    killed = 0
    for puts in (3, 8, 14, 18, 23, 29):
        process = _process(DIE, str(puts), *again)
        killed += process.wait() == -signal.SIGKILL
    assert killed >= 4
    assert call(*again) == 0
    remote = bucket.outputs()
    assert {name: remote[name] for name in SAME_BYTES} == outputs(tmp_path / "out")
    assert set(remote) == {*EVERY_FILE, "changes.csv"}


@pytest.mark.slow
def test_what_is_new_is_told_in_spite_of_kills_while_outputs_are_replaced(bucket):
    put_pictures(bucket, 4)
    again = ["run", bucket.pictures, "--work-dir", bucket.work_dir, "--executor", "inline", "--incremental"]
    assert call(*again) == 0
    bucket.put("copy.jpg", picture(0))
    for name in ("features.dat.csv", "images.parquet", "similarity.parquet", "summary.json"):
        assert _process(DIE, name, *again).wait() == -signal.SIGKILL
    assert call(*again) == 0
    changes = {name: count for name, count in json.loads(bucket.output("summary.json"))["changes"].items() if count}
    assert changes == {"images_added": 1, "new_pairs": 1, "groups_new": 1}


# --- again and again --------------------------------------------------------------------------------------------------


def test_of_an_unchanged_bucket_no_object_is_read(bucket, as_user):
    put_pictures(bucket, 5)
    run_inline(bucket.pictures, bucket.work_dir)
    as_user("lister")  # who may not
    result = run_inline(bucket.pictures, bucket.work_dir, report=False)
    assert (result.summary["read"], result.counts["images"]) == (0, 5)


def test_only_what_is_new_or_changed_is_read_and_the_result_is_that_of_a_run_from_nothing(bucket, tmp_path):
    put_pictures(bucket, 12)
    run_inline(bucket.pictures, bucket.work_dir)
    bucket.put("a-new.jpg", picture(3))
    bucket.put("004.jpg", picture(40))
    bucket.delete("007.jpg")
    result = run_inline(bucket.pictures, bucket.work_dir)
    assert result.summary["read"] == 2
    run_inline(bucket.pictures, tmp_path / "fresh")
    remote = bucket.outputs()
    assert {name: remote[name] for name in SAME_BYTES} == outputs(tmp_path / "fresh")


def told_changes(bucket: Bucket, folder: Path) -> dict[str, int]:
    """What a next incremental run counts, with which its files agree."""
    result = run_inline(bucket.pictures, bucket.work_dir, incremental=True)
    for name, data in bucket.outputs().items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    assert check(folder) == []
    return {name: count for name, count in result.summary["changes"].items() if count}


def test_what_is_new_since_the_last_run_is_told(bucket, tmp_path):
    put_pictures(bucket, 4)
    assert told_changes(bucket, tmp_path)["images_added"] == 4
    bucket.put("copy.jpg", picture(0))
    assert told_changes(bucket, tmp_path) == {"images_added": 1, "new_pairs": 1, "groups_new": 1}
    assert (
        f"new_pair,,{bucket.uri('000.jpg')},{bucket.uri('copy.jpg')},1.000000" in bucket.output("changes.csv").decode()
    )
    bucket.put("copy2.jpg", picture(0))
    bucket.delete("copy.jpg")
    assert told_changes(bucket, tmp_path) == {
        "images_added": 1,
        "images_removed": 1,
        "new_pairs": 1,
        "groups_grew": 1,
        "groups_shrank": 1,
    }
    bucket.delete("copy2.jpg")
    assert told_changes(bucket, tmp_path) == {"images_removed": 1, "groups_gone": 1}
    run_inline(bucket.pictures, bucket.work_dir)
    assert "changes.csv" not in bucket.outputs()


def test_several_inputs_and_a_reference(bucket, capsys):
    original = bucket.put("originals/a.jpg", picture(0))
    bucket.put("one/b.jpg", picture(0))
    bucket.put("two/c.jpg", picture(1))
    inputs = ["--input", bucket.uri("one"), "--input", bucket.uri("two"), "--reference", bucket.uri("originals")]
    assert call("run", *inputs, "--work-dir", bucket.work_dir, "--executor", "inline") == 0
    images = pq.read_table(pa.BufferReader(bucket.output("images.parquet")))
    assert images["filename"].to_pylist() == [original, bucket.uri("one/b.jpg"), bucket.uri("two/c.jpg")]
    assert images["reference"].to_pylist() == [True, False, False]


def test_an_estimate_is_told_and_nothing_is_written(bucket, capsys):
    put_pictures(bucket, 5)
    asked = ["run", bucket.pictures, "--work-dir", bucket.work_dir, "--executor", "inline"]
    assert call(*asked, "--estimate") == 0
    assert "5 entries, 5 of them to be read" in capsys.readouterr().out
    assert bucket.outputs() == {}
    assert call(*asked) == 0
    found = estimate_run(RunConfig.of(input_dir=bucket.pictures, work_dir=bucket.work_dir))
    assert (found.entries, found.to_read, found.bytes_to_read) == (5, 0, 0)
    assert 0 < found.dollars <= found.dollars_over_the_internet < 0.01


def test_the_estimate_of_requests_is_near_what_a_run_takes(bucket):
    put_pictures(bucket, 30)
    config = RunConfig.of(input_dir=bucket.pictures, work_dir=bucket.work_dir, executor="inline", shard_size=10)
    found = estimate_run(config)
    before = count_requests_made()
    deduplicate(config)
    made = count_requests_made() - before + 30  # gets are obstore's
    assert 0.5 < (found.lists + found.gets + found.puts) / made < 2


def _job(*arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, JOB, *arguments], capture_output=True, text=True, timeout=120)


@pytest.mark.slow
def test_the_scheduled_job_ends_with_a_code_and_a_json_line_for_each_step(bucket):
    put_pictures(bucket, 3)
    place = [bucket.pictures, "--work-dir", bucket.work_dir, "--executor", "inline"]
    done = _job(*place)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0
    steps = [line["step"] for line in lines if "step" in line]
    assert steps == ["executor", "start", "list", "reuse", "features", "neighbors", "verify", "outputs", "done"]
    assert lines[-1]["changes"]["images_added"] == 3
    bucket.put("again.jpg", picture(0))
    done = _job(*place, "--fail-over", "0")
    assert done.returncode == 4
    assert json.loads(done.stdout.splitlines()[-1])["changes"]["new_pairs"] == 1
    with open_store(bucket.work_dir).lock(".fastdup_ray.lock"):
        done = _job(*place)
    assert done.returncode == 3
    assert json.loads(done.stdout.splitlines()[-1]) | {"time": 0, "error": 0} == {
        "time": 0,
        "level": "info",
        "step": "failed",
        "error": 0,
        "exit_code": 3,
    }
    assert _job(*place, "--threshold", "7").returncode == 2
    assert _job("s3://no-such-bucket/x", "--work-dir", bucket.work_dir).returncode == 1


@pytest.mark.parametrize("place", ["s3://", "s3:///x"])
def test_a_uri_without_a_bucket_is_refused(place):
    with pytest.raises(ConfigError, match="names no bucket"):
        RunConfig.of(input_dir=place)


def test_a_password_in_the_address_of_the_server_stands_nowhere(bucket: Bucket, tmp_path, monkeypatch, capfd):
    bucket.put("a.png", encode(cloudy(1), "PNG"))
    bucket.put("b.png", b"no image")
    host = bucket.server.url.removeprefix("http://")
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://user:hunter2@{host}")
    forget_s3()
    options = ("--executor", "inline", "--verbose", "--work-dir", tmp_path / "out")
    assert call("run", bucket.pictures, *options) == 0
    assert call("run", bucket.pictures + "/nothing", *options) == 1
    told = capfd.readouterr()
    assert "hunter2" not in told.out + told.err
    assert not [path for path in (tmp_path / "out").rglob("*") if path.is_file() and b"hunter2" in path.read_bytes()]
