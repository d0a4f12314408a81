"""Images in Google Cloud Storage and Azure, on real servers of their protocols."""

import io
import os
import pickle
import re
import tarfile
import zlib
from collections.abc import Iterator

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fastdup_ray import RunConfig, apply_plan, make_plan
from fastdup_ray.clouds import buckets, cloud
from fastdup_ray.common.access import DEFAULT_ACCESS, Access
from fastdup_ray.common.records import ImageRef
from fastdup_ray.doctor.connectivity import check_input
from fastdup_ray.doctor.findings import State
from fastdup_ray.errors import BadImageError, ConfigError, ErrorCode, InputError
from fastdup_ray.inputs import list_images, read_entry, stat
from fastdup_ray.inputs.annotations import Annotations
from fastdup_ray.runs.estimate import estimate_run
from fastdup_ray.storage import open_store
from fastdup_ray.storage.named_output import NamedOutput
from tests.helpers.cloud_servers import (
    BUCKET,
    PUBLIC,
    AzureServer,
    CloudServer,
    GoogleServer,
    become,
    forget,
    started,
)
from tests.helpers.images import cloudy, encode
from tests.helpers.runs import run_inline
from tests.helpers.videos import make_clip

IMAGES = {f"{seed:02d}.jpg": encode(cloudy(seed), "JPEG", quality=90) for seed in (0, 1, 2)}
IMAGES["copy.jpg"] = IMAGES["00.jpg"]
QUICK = {"report": False, "verify": "off"}


@pytest.fixture(scope="module")
def google_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CloudServer]:
    yield from started(GoogleServer, tmp_path_factory.mktemp("google"))


@pytest.fixture(scope="module")
def azure_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CloudServer]:
    yield from started(AzureServer, tmp_path_factory.mktemp("azure"))


@pytest.fixture(params=["google_server", "azure_server"])
def server(request: pytest.FixtureRequest) -> CloudServer:
    return request.getfixturevalue(request.param)


class Prefix:
    """A prefix of this test's own."""

    def __init__(self, server: CloudServer, name: str):
        self.server, self._name = server, name
        self.uri = f"{server.scheme}://{BUCKET}/{name}"

    def put(self, name: str, data: bytes) -> str:
        self.server.put(f"{self._name}/{name}", data)
        return f"{self.uri}/{name}"


@pytest.fixture
def prefix(server: CloudServer, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[Prefix]:
    become(monkeypatch, server.environment())
    name = re.sub(r"[^0-9a-z]+", "-", request.node.name.lower())
    yield Prefix(server, f"{name[:40]}-{zlib.crc32(request.node.name.encode())}")
    forget()


def listed(location: str, **parameters) -> list[str]:
    return [ref.uri for ref in list_images(RunConfig.of(input_dir=location, work_dir="unused", **parameters))]


def refused(ref) -> ErrorCode:
    with pytest.raises(BadImageError) as refusal:
        read_entry(ref)
    return refusal.value.code


def test_a_bucket_gives_what_the_same_folder_gives_and_is_read_once(prefix, tmp_path):
    (tmp_path / "photos").mkdir()
    for name, data in IMAGES.items():
        (tmp_path / "photos" / name).write_bytes(data)
        prefix.put(name, data)
    prefix.put("00.txt", b"a cloud")
    run_inline(tmp_path / "photos", tmp_path / "local", **QUICK)
    first = run_inline(prefix.uri, tmp_path / "out", labels=".txt", **QUICK)
    assert (tmp_path / "out/features.dat").read_bytes() == (tmp_path / "local/features.dat").read_bytes()
    for name in ("features.dat.csv", "features.bad.csv", "similarity.csv", "exact_copies.csv"):
        local = (tmp_path / "local" / name).read_bytes().replace(os.fsencode(tmp_path / "photos"), prefix.uri.encode())
        assert (tmp_path / "out" / name).read_bytes() == local
    assert first.counts["images"] == len(IMAGES)
    assert first.images["label"].to_pylist() == ["a cloud", None, None, None]

    prefix.put("04.jpg", encode(cloudy(4), "JPEG"))
    estimate = estimate_run(RunConfig.of(input_dir=prefix.uri, work_dir=str(tmp_path / "out")))
    assert (estimate.entries, estimate.to_read, estimate.lists) == (len(IMAGES) + 1, 1, 2)


NAMES = ["a b.jpg", "ä ö+%20&=?#.jpg", "quote\"'.jpg", "日本/語.jpg", "x!/y.jpg", "c#t=1.000.jpg", "0.jpg", "a.jpg"]


def test_objects_are_listed_in_the_order_of_their_names_and_read(prefix):
    for name in [*NAMES, ".hidden.jpg", "notes.txt"]:
        prefix.put(name, name.encode())
    refs = list(list_images(RunConfig.of(input_dir=prefix.uri, work_dir="unused")))
    assert [ref.uri for ref in refs] == sorted((f"{prefix.uri}/{name}" for name in NAMES), key=str.encode)
    assert [read_entry(ref) for ref in refs] == [ref.uri.removeprefix(f"{prefix.uri}/").encode() for ref in refs]
    assert all(ref.size == len(read_entry(ref)) and ref == stat(ref.uri) for ref in refs)
    assert listed(prefix.uri, exclude=["*.jpg"]) == []
    assert len(listed(prefix.uri, include=["a*"])) == 2


def test_an_object_that_changed_or_is_gone_is_bad(prefix):
    ref = stat(prefix.put("a.jpg", b"one"))
    prefix.put("a.jpg", b"two")
    assert refused(ref) == ErrorCode.CHANGED
    assert read_entry(ImageRef(ref.uri, 0, "")) == b"two"  # without a token, as it is now
    missing = stat(f"{prefix.uri}/missing.jpg")
    assert missing.mtime_or_etag == ""
    assert refused(missing) == ErrorCode.MISSING
    assert refused(ImageRef(f"{prefix.server.scheme}://nowhere/a.jpg", 0, "")) == ErrorCode.MISSING
    assert refused(ImageRef(f"{prefix.uri}/a//b.jpg", 1, "token")) == ErrorCode.UNSUPPORTED


def test_lists_archives_and_parquet_files_are_read_there(prefix, tmp_path):
    uris = [prefix.put(name, data) for name, data in IMAGES.items()]
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as tar:
        for name, data in IMAGES.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    archive = prefix.put("more/images.tar", content.getvalue())
    table = io.BytesIO()
    pq.write_table(pa.table({"image": list(IMAGES.values())}), table)
    rows = prefix.put("rows.parquet", table.getvalue())
    (tmp_path / "list.txt").write_text("\n".join(uris))
    of_paths = io.BytesIO()
    pq.write_table(pa.table({"filename": list(IMAGES)}), of_paths)

    assert listed(str(tmp_path / "list.txt")) == uris
    assert listed(prefix.put("list.csv", f"filename\n{uris[0]}\n".encode())) == uris[:1]
    assert listed(prefix.put("paths.parquet", of_paths.getvalue())) == uris
    assert listed(f"{prefix.uri}/more") == [f"{archive}!/{name}" for name in IMAGES]
    for location in (archive, rows):
        refs = list(list_images(RunConfig.of(input_dir=location, work_dir="unused")))
        assert [read_entry(ref) for ref in refs] == list(IMAGES.values())


def test_large_objects_are_read_in_ranges(prefix, monkeypatch):
    data = os.urandom(1 << 20)
    ref = stat(prefix.put("large.jpg", data))
    monkeypatch.setattr(buckets, "READ_AT_ONCE", 1000)
    assert read_entry(ref) == data
    assert read_entry(ImageRef(ref.uri, 0, "")) == data


def test_frames_of_a_video_are_images(prefix, tmp_path):
    uri = prefix.put("clip.mp4", make_clip(tmp_path / "clip.mp4", seconds=2).read_bytes())
    result = run_inline(prefix.uri, tmp_path / "out", **QUICK)
    assert result.images["filename"].to_pylist() == [f"{uri}#t=0.000", f"{uri}#t=1.000"]


def test_a_bucket_that_does_not_exist_is_refused(prefix, monkeypatch):
    monkeypatch.setattr(cloud, "TRIES", 0)
    with pytest.raises(InputError, match="nowhere"):
        listed(f"{prefix.server.scheme}://nowhere/photos")


@pytest.mark.parametrize("location", ["gs://bucket/out", "https://localhost/out"])
def test_outputs_go_elsewhere(location):
    with pytest.raises(ConfigError):
        RunConfig.of(input_dir="photos", work_dir=location)
    with pytest.raises(ConfigError):
        open_store(location)
    with pytest.raises(ConfigError):
        NamedOutput(f"{location}/list.txt").check()


def test_a_plan_is_made_and_not_applied(prefix, tmp_path):
    for name, data in IMAGES.items():
        prefix.put(name, data)
    run_inline(prefix.uri, tmp_path / "out", **QUICK)
    plan = make_plan(tmp_path / "out")
    assert plan.dropped == 1
    with pytest.raises(ConfigError, match="cannot be moved"):
        apply_plan(plan.path, tmp_path / "quarantine", execute=True)
    assert not (tmp_path / "quarantine").exists()
    with pytest.raises(ConfigError):
        apply_plan(plan.path, f"{prefix.uri}/quarantine", execute=True)


def test_doctor_lists_a_bucket(prefix):
    prefix.put("a.jpg", b"")
    found = check_input(prefix.uri)
    assert (found.name, found.state) == (prefix.server.scheme, State.OK)
    assert check_input(f"{prefix.server.scheme}://nowhere").state is State.BROKEN


def test_a_name_with_an_empty_part_stops_the_listing_with_its_name(google_server, monkeypatch):
    become(monkeypatch, google_server.environment())
    google_server.put("empty-part/a//b.jpg", b"")
    with pytest.raises(InputError, match=re.escape("a//b.jpg")):
        listed(f"gs://{BUCKET}/empty-part")


# --- credentials ------------------------------------------------------------------------------------------------------


def test_labels_of_yolo_are_found_beside_their_photos(prefix):
    prefix.put("set/images/a b.jpg", IMAGES["00.jpg"])
    prefix.put("set/images/c.jpg", IMAGES["00.jpg"])
    prefix.put("set/labels/a b.txt", b"1 0.5 0.5 0.5 0.25\n")
    prefix.put("set/data.yaml", b"names: [cat, dog]")
    for annotations, root in (("set/labels", "set/images"), ("set/data.yaml", "set")):
        source = Annotations(f"{prefix.uri}/{annotations}", f"{prefix.uri}/{root}")
        source.check()
        (ref,) = source.list_boxes()
        assert ref.uri == f"{prefix.uri}/set/images/a b.jpg#xywh=percent:25,37.5,50,25"
        assert ref.size == len(IMAGES["00.jpg"])
        assert source.read_labels(source.names(source.read())).to_pylist() == ["dog"]


@pytest.fixture
def azure(azure_server: AzureServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[AzureServer]:
    """The server that asks for credentials; this process has them."""
    become(monkeypatch, azure_server.environment())
    yield azure_server
    forget()


def test_refused_credentials_end_the_run(azure, monkeypatch, tmp_path):
    azure.put("refused/a.jpg", IMAGES["00.jpg"])
    become(monkeypatch, azure.environment(key="d3Jvbmc="))
    with pytest.raises(InputError, match="refuses the credentials"):
        run_inline(f"az://{BUCKET}/refused", tmp_path / "out")
    (tmp_path / "list").write_text(f"az://{BUCKET}/refused/a.jpg\n")
    with pytest.raises(InputError, match="refuses the credentials"):
        run_inline(tmp_path / "list", tmp_path / "out")


def test_without_credentials_public_containers_are_read(azure, monkeypatch):
    azure.put("a.jpg", IMAGES["00.jpg"], bucket=PUBLIC)
    azure.put("secret.jpg", IMAGES["00.jpg"])
    ref = stat(f"az://{BUCKET}/secret.jpg")
    become(monkeypatch, {"AZURE_STORAGE_ACCOUNT": "account", "AZURE_STORAGE_ENDPOINT": azure.endpoint})
    assert listed(f"az://{PUBLIC}") == [f"az://{PUBLIC}/a.jpg"]
    assert refused(ref) == ErrorCode.UNREADABLE


def test_a_worker_without_credentials_ends_the_run_of_a_driver_that_has_some(azure, monkeypatch):
    azure.put("of-worker.jpg", IMAGES["00.jpg"])
    ref = stat(f"az://{BUCKET}/of-worker.jpg")
    of_driver: Access = pickle.loads(pickle.dumps(DEFAULT_ACCESS))
    become(monkeypatch, {"AZURE_STORAGE_ACCOUNT": "account", "AZURE_STORAGE_ENDPOINT": azure.endpoint})
    with pytest.raises(InputError, match="refuses the credentials"):
        read_entry(ref, of_driver)


def test_credentials_that_are_none_end_the_run(monkeypatch, tmp_path):
    become(monkeypatch, {"AZURE_STORAGE_ACCOUNT": "account", "AZURE_STORAGE_KEY": "not base64"})
    with pytest.raises(InputError):
        read_entry(ImageRef("az://container/a.jpg", 1, "token"))
    (tmp_path / "application_default_credentials.json").write_text("{}")
    for name, path in (("GOOGLE_APPLICATION_CREDENTIALS", tmp_path / "none"), ("CLOUDSDK_CONFIG", tmp_path)):
        become(monkeypatch, {name: str(path)})
        with pytest.raises(InputError, match="cannot be used"):
            read_entry(ImageRef("gs://bucket/a.jpg", 1, "token"))
    forget()


def test_without_an_account_the_variable_is_named(azure, monkeypatch):
    become(monkeypatch, {})
    with pytest.raises(ConfigError, match="AZURE_STORAGE_ACCOUNT"):
        listed(f"az://{BUCKET}")


@pytest.mark.parametrize("uri", ["gs://me:secret@bucket/a", "az://key@container/a", "https://me:secret@host/a.jpg"])
def test_credentials_in_a_uri_are_refused_and_not_shown(uri, tmp_path):
    with pytest.raises(ConfigError) as refusal:
        RunConfig.of(input_dir=uri)
    assert "secret" not in str(refusal.value)
    (tmp_path / "list").write_text(f"{uri}\n")
    with pytest.raises(ConfigError):
        listed(str(tmp_path / "list"))
