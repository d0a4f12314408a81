"""plan, apply, undo and --link on buckets, on a real S3 server."""

import os
import random
import time
from collections.abc import Iterator
from functools import partial

import pytest

from fastdup_ray import apply_plan, build_dataset, make_plan, s3, undo
from fastdup_ray.common import layout, locations
from fastdup_ray.common.access import DEFAULT_ACCESS
from fastdup_ray.curation.file_ops import FileIdentity, get_file_mover
from fastdup_ray.curation.file_ops import s3 as s3_place
from fastdup_ray.curation.plan_file import read_plan
from fastdup_ray.errors import LockedError, RefusedError
from fastdup_ray.inputs import bucket as bucket_inputs
from fastdup_ray.inputs.globs import Patterns
from fastdup_ray.inputs.skipped import SkippedFiles
from fastdup_ray.s3 import objects
from tests.helpers.commands import call
from tests.helpers.images import cloudy, encode
from tests.helpers.kills import kill_when, start
from tests.helpers.runs import run_inline
from tests.helpers.s3_server import Bucket


def everything(bucket: Bucket, place: str) -> dict[str, bytes]:
    """All objects below a URI, by the rest of their keys."""
    name, prefix = locations.split_folder(place)
    pages = bucket.client.get_paginator("list_objects_v2").paginate(Bucket=name, Prefix=prefix)
    keys = [facts["Key"] for page in pages for facts in page.get("Contents", ())]
    return {key.removeprefix(prefix): bucket.client.get_object(Bucket=name, Key=key)["Body"].read() for key in keys}


def number_of(bucket: Bucket, place: str) -> int:
    name, prefix = locations.split_folder(place)
    return bucket.client.list_objects_v2(Bucket=name, Prefix=prefix)["KeyCount"]


@pytest.fixture
def pictures(bucket: Bucket) -> dict[str, bytes]:
    for name, seed in (("a/1.png", 1), ("a/twin.png", 1), ("b/ü 2 +.png", 2), ("b/ü 2 + again.png", 2), ("c.png", 3)):
        bucket.put(name, encode(cloudy(seed), "PNG"))
    for name in ("a/1.txt", "a/twin.txt", "a/twin.png.xmp", "a/other.txt"):
        bucket.put(name, name.encode())
    return everything(bucket, bucket.pictures)


GONE = {"a/twin.png", "a/twin.txt", "a/twin.png.xmp", "b/ü 2 +.png"}


@pytest.fixture
def plan(bucket, pictures) -> str:
    run_inline(bucket.pictures, bucket.work_dir, executor="inline")
    return make_plan(bucket.work_dir, any_sidecars=True).path


@pytest.fixture
def quarantine(bucket) -> str:
    return bucket.work_dir + "-quarantine"


def test_from_a_bucket_to_its_quarantine_and_back(bucket, pictures, plan, quarantine, capsys):
    assert plan == f"{bucket.work_dir}/plan.csv"
    assert all(row.etag and row.sha256 for row in read_plan(plan))
    assert call("apply", plan, "--any-sidecars", "--quarantine", quarantine) == 0
    assert "Would move 2 images and 2 sidecars" in capsys.readouterr().out
    assert everything(bucket, bucket.pictures) == pictures
    assert not everything(bucket, quarantine)
    assert call("apply", plan, "--any-sidecars", "--quarantine", quarantine, "--execute") == 0
    left = everything(bucket, bucket.pictures)
    assert set(pictures) - set(left) == GONE
    moved = everything(bucket, f"{quarantine}/files/s3/{bucket.pictures.removeprefix('s3://')}")
    assert moved == {name: pictures[name] for name in GONE}
    assert apply_plan(plan, quarantine, execute=True, any_sidecars=True).already_moved == 2
    assert call("undo", quarantine) == 0
    assert everything(bucket, bucket.pictures) == pictures
    assert not everything(bucket, f"{quarantine}/files")


def test_what_changed_stays_and_so_do_copies_of_a_keeper_that_did(bucket, pictures, plan, quarantine):
    bucket.put("a/twin.png", pictures["a/twin.png"][:-1] + b"x")
    bucket.put("b/ü 2 + again.png", b"another")
    applied = apply_plan(plan, quarantine, execute=True, any_sidecars=True)
    told = {name.rpartition("/")[2]: reason for name, reason in applied.refused}
    assert "it changed: another ETag" in told["twin.png"]
    assert "cannot be relied on: it changed" in told["ü 2 +.png"]
    assert "may need it" in told["twin.txt"]
    bucket.delete("b/ü 2 + again.png")
    assert "it is gone" in apply_plan(plan, quarantine, execute=True, any_sidecars=True).refused[1][1]


def test_nothing_is_written_over(bucket, pictures, plan, quarantine):
    apply_plan(plan, quarantine, execute=True, any_sidecars=True)
    bucket.put("a/twin.png", b"a new one")
    undone = undo(quarantine)
    assert [reason for _, reason in undone.refused] == [
        f"{bucket.uri('a/twin.png')!r} exists already, and is another object"
    ]
    assert everything(bucket, bucket.pictures) == pictures | {"a/twin.png": b"a new one"}
    bucket.delete("a/twin.png")
    assert not undo(quarantine).refused
    assert everything(bucket, bucket.pictures) == pictures


def test_metadata_and_objects_in_many_parts_survive(bucket, quarantine):
    name, key = locations.split(bucket.uri("parts.png"))
    data = os.urandom(6 << 20)
    made = bucket.client.create_multipart_upload(
        Bucket=name, Key=key, ContentType="image/png", Metadata={"camera": "x"}
    )
    parts = []
    for number, part in enumerate((data[: 5 << 20], data[5 << 20 :]), 1):
        answer = bucket.client.upload_part(
            Bucket=name, Key=key, UploadId=made["UploadId"], PartNumber=number, Body=part
        )
        parts.append({"PartNumber": number, "ETag": answer["ETag"]})
    bucket.client.complete_multipart_upload(
        Bucket=name, Key=key, UploadId=made["UploadId"], MultipartUpload={"Parts": parts}
    )
    etag = bucket.client.head_object(Bucket=name, Key=key)["ETag"].strip('"')
    assert "-" in etag
    source, target = bucket.uri("parts.png"), f"{quarantine}/files/x.png"
    get_file_mover(source).move(source, target, FileIdentity(len(data), "", etag))
    assert everything(bucket, bucket.pictures) == {}
    there = bucket.client.get_object(**dict(zip(("Bucket", "Key"), locations.split(target), strict=True)))
    assert there["Body"].read() == data
    assert (there["ContentType"], there["Metadata"]) == ("image/png", {"camera": "x"})


def test_pictures_and_quarantine_have_to_be_of_one_kind(bucket, pictures, plan, tmp_path):
    applied = apply_plan(plan, tmp_path / "q", execute=True, any_sidecars=True)
    assert len(applied.refused) == 2
    assert "as the quarantine" in applied.refused[0][1]
    assert everything(bucket, bucket.pictures) == pictures


def test_two_calls_on_one_prefix_do_not_mix(bucket, plan, quarantine):
    def another(line: str) -> None:
        with pytest.raises(LockedError, match="Another apply or undo"):
            undo(quarantine)

    assert len(apply_plan(plan, quarantine, execute=True, any_sidecars=True, tell=another).moved) == 4


def test_who_may_not_delete_moves_nothing_away(bucket, pictures, plan, quarantine, as_user):
    as_user("reader")
    assert call("apply", plan, "--any-sidecars", "--quarantine", quarantine, "--execute") == 1
    as_user("owner")
    assert everything(bucket, bucket.pictures) == pictures


def test_later_runs_leave_a_quarantine_out(bucket, plan, tmp_path, monkeypatch):
    quarantine = f"{bucket.pictures}/{layout.QUARANTINE}"
    bucket.put("files/s3/of somebody's.png", encode(cloudy(4), "PNG"))
    apply_plan(plan, quarantine, execute=True, any_sidecars=True)
    assert number_of(bucket, f"{quarantine}/files") == 4
    result = run_inline(bucket.pictures, tmp_path / "out")
    assert result.counts["entries"] == 4
    assert result.counts["exact_copies"] == 0
    name, key = locations.split(f"{quarantine}/files")
    assert run_inline(f"{quarantine}/files", tmp_path / "inside").counts["entries"] == 2
    # An inventory need not be in the order of the names.
    pages = bucket.client.list_objects_v2(Bucket=name, Prefix=key.partition("/")[0] + "/")["Contents"]
    refs = [objects.make_ref(s3.make_uri(name, facts["Key"]), facts) for facts in pages]
    monkeypatch.setattr(bucket_inputs.inventory, "list_inventory", lambda uri, access: (name, reversed(refs)))
    nothing_left_out = Patterns([], []), SkippedFiles(), DEFAULT_ACCESS
    listed = list(bucket_inputs.walk_inventory("s3://any/manifest.json", str(tmp_path), *nothing_left_out))
    assert len(listed) == 4
    assert not [ref for ref in listed if layout.QUARANTINE in ref.uri]
    undo(quarantine)


def test_a_clean_data_set_of_copies(bucket, pictures, plan, quarantine):
    built = build_dataset(plan, bucket.work_dir + "-clean", "copy", execute=True)
    assert (built.images, built.sidecars, built.refused) == (3, 1, [])
    assert everything(bucket, bucket.work_dir + "-clean") == {
        name: pictures[name] for name in pictures if name not in GONE | {"a/other.txt"}
    }
    assert build_dataset(plan, bucket.work_dir + "-clean", "copy", execute=True).refused == []
    refused = build_dataset(plan, bucket.work_dir + "-links", "hard", execute=True).refused
    assert len(refused) == 4
    assert "choose copy" in refused[0][1]
    assert everything(bucket, bucket.pictures) == pictures


@pytest.fixture
def versioned(bucket: Bucket) -> Iterator[str]:
    """A bucket that keeps what is deleted, or written over."""
    name = f"versioned-{os.urandom(4).hex()}"
    bucket.client.create_bucket(Bucket=name)
    bucket.client.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
    yield name
    for page in bucket.client.get_paginator("list_object_versions").paginate(Bucket=name):
        for facts in (*page.get("Versions", ()), *page.get("DeleteMarkers", ())):
            bucket.client.delete_object(Bucket=name, Key=facts["Key"], VersionId=facts["VersionId"])
    bucket.client.delete_bucket(Bucket=name)


def test_in_a_bucket_with_versions_nothing_is_ever_gone_for_good(bucket, versioned):
    source, target = f"s3://{versioned}/a.png", f"s3://{versioned}/q/files/a.png"
    etag = bucket.client.put_object(Bucket=versioned, Key="a.png", Body=b"picture")["ETag"].strip('"')
    get_file_mover(source).move(source, target, FileIdentity(7, "", etag))
    assert everything(bucket, f"s3://{versioned}") == {"q/files/a.png": b"picture"}
    versions = bucket.client.list_object_versions(Bucket=versioned, Prefix="a.png")
    assert [facts["Key"] for facts in versions["DeleteMarkers"]] == ["a.png"]
    old = bucket.client.get_object(Bucket=versioned, Key="a.png", VersionId=versions["Versions"][0]["VersionId"])
    assert old["Body"].read() == b"picture"
    get_file_mover(source).move(target, source, FileIdentity())
    assert everything(bucket, f"s3://{versioned}") == {"a.png": b"picture"}


TOLD = {
    "ContentType": "image/png",
    "CacheControl": "max-age=5",
    "ContentLanguage": "is",
    "Metadata": {"camera": "x", "by": "y z"},
}


@pytest.mark.parametrize("largest", [5 << 30, 1 << 20])
def test_what_is_told_of_an_object_goes_with_it_and_comes_back_however_large_it_is(
    bucket, quarantine, monkeypatch, largest
):
    """Objects over 5 GiB are copied in parts; here those over 1 MiB are."""
    monkeypatch.setattr(s3_place, "LARGEST", largest)
    monkeypatch.setattr(s3_place, "PART", 5 << 20)
    data = os.urandom((11 << 20) + 5)
    source, target = bucket.uri("large.png"), f"{quarantine}/files/x.png"
    place = dict(zip(("Bucket", "Key"), locations.split(source), strict=True))
    bucket.client.put_object(**place, Body=data, **TOLD, Tagging="owner=me+%26+you&kind=")
    before = bucket.client.head_object(**place)["ETag"]
    get_file_mover(source).move(source, target, FileIdentity(len(data), "", before.strip('"')))
    assert everything(bucket, bucket.pictures) == {}
    get_file_mover(source).move(target, source, FileIdentity())
    there = bucket.client.get_object(**place)
    assert there["Body"].read() == data
    assert {name: there[name] for name in TOLD} == TOLD
    assert (there["ETag"] == before) == (largest > len(data))
    tags = bucket.client.get_object_tagging(**place)["TagSet"]
    assert {tag["Key"]: tag["Value"] for tag in tags} == {"owner": "me & you", "kind": ""}
    assert everything(bucket, f"{quarantine}/files") == {}
    assert not bucket.client.list_multipart_uploads(Bucket=place["Bucket"]).get("Uploads")


def test_what_changes_while_it_is_copied_in_parts_stays_and_no_part_is_left(bucket, quarantine, monkeypatch):
    monkeypatch.setattr(s3_place, "LARGEST", 1 << 20)
    monkeypatch.setattr(s3_place, "PART", 5 << 20)
    source, copy_part = bucket.put("large.png", os.urandom(11 << 20)), s3_place._copy_part

    def change(ref, start, access, **part):
        if start:
            bucket.put("large.png", b"a new picture")
        return copy_part(ref, start, access, **part)

    monkeypatch.setattr(s3_place, "_copy_part", change)
    with pytest.raises(RefusedError, match="it changed"):
        get_file_mover(source).move(source, f"{quarantine}/files/x.png", FileIdentity())
    assert everything(bucket, bucket.pictures) == {"large.png": b"a new picture"}
    assert everything(bucket, quarantine) == {}
    for name, _ in map(locations.split, (source, quarantine)):
        assert not bucket.client.list_multipart_uploads(Bucket=name).get("Uploads")


@pytest.mark.parametrize("when", ["before it is copied", "after it was copied"])
def test_what_changes_under_way_stays_as_it_is_now(bucket, quarantine, monkeypatch, when):
    source = bucket.put("a.png", b"picture")
    step = "_copy" if when.startswith("before") else "_delete_source"
    real = getattr(s3_place, step)

    def change(*arguments):
        bucket.put("a.png", b"a new one")
        return real(*arguments)

    monkeypatch.setattr(s3_place, step, change)
    with pytest.raises(RefusedError, match="it changed"):
        get_file_mover(source).move(source, f"{quarantine}/files/a.png", FileIdentity())
    assert everything(bucket, bucket.pictures) == {"a.png": b"a new one"}


@pytest.mark.parametrize("operation", ["copy_object", "delete_object"])
def test_an_answer_that_was_lost_is_no_reason_to_leave_a_picture(bucket, quarantine, monkeypatch, operation):
    """The request was done, its answer lost, and tried again: the server says that the condition does not hold."""
    source, client = bucket.put("a.png", b"picture"), s3.get_client(DEFAULT_ACCESS)
    real = getattr(client, operation)

    def twice(**request):
        real(**request)
        return real(**request)

    monkeypatch.setattr(client, operation, twice)
    get_file_mover(source).move(source, f"{quarantine}/files/a.png", FileIdentity())
    assert everything(bucket, bucket.pictures) == {}
    assert everything(bucket, f"{quarantine}/files") == {"a.png": b"picture"}


def test_a_copy_that_comes_out_different_takes_nothing_away(bucket, quarantine, monkeypatch):
    source = bucket.put("a.png", b"picture")
    target = f"{quarantine}/files/a.png"
    name, key = locations.split(target)

    def another(*_, **__):
        bucket.client.put_object(Bucket=name, Key=key, Body=b"picturE")

    monkeypatch.setattr(s3_place, "_copy_at_once", another)
    with pytest.raises(RefusedError, match="came out different"):
        get_file_mover(source).move(source, target, FileIdentity())
    assert everything(bucket, bucket.pictures) == {"a.png": b"picture"}


def test_a_prefix_of_something_else_is_no_quarantine(bucket, pictures, plan, capsys):
    assert call("apply", plan, "--quarantine", bucket.pictures, "--execute") == 1
    assert "not a quarantine" in capsys.readouterr().err
    assert everything(bucket, bucket.pictures) == pictures


KILLS, PAIRS = 6, 12


@pytest.mark.slow
def test_kill_9_of_apply_and_of_undo_at_random_moments_loses_nothing(bucket, quarantine, tmp_path):
    for number in range(PAIRS):
        for name in ("keep", "gone"):
            bucket.put(f"{name}{number:02d}.png", encode(cloudy(number), "PNG"))
    run_inline(bucket.pictures, tmp_path / "out")
    plan = make_plan(tmp_path / "out", keep="path:keep*").path
    before, environment = everything(bucket, bucket.pictures), bucket.server.environment("owner")

    def not_lost() -> None:
        everywhere = everything(bucket, bucket.pictures)
        for name, data in everything(bucket, f"{quarantine}/files").items():
            assert everywhere.setdefault(name.rpartition("/")[2], data) == data
        assert everywhere == before

    killed, apply_words = 0, ["apply", plan, "--any-sidecars", "--quarantine", quarantine, "--execute"]
    for moment in range(KILLS):
        draw = random.Random(moment)
        for words, left, again in (
            (apply_words, PAIRS, partial(apply_plan, plan, quarantine, execute=True)),
            (["undo", quarantine], 2 * PAIRS, partial(undo, quarantine)),
        ):
            number, pause = draw.randrange(PAIRS), draw.uniform(0, 0.03)

            def is_time(number=number, pause=pause, left=left) -> bool:
                if abs(number_of(bucket, f"{quarantine}/files") - (left - PAIRS)) < number:
                    return False
                time.sleep(pause)
                return True

            killed += kill_when(start(words, environment), is_time)
            not_lost()
            assert not again().refused
            assert len(everything(bucket, bucket.pictures)) == left
    assert everything(bucket, bucket.pictures) == before
    assert killed >= KILLS, "too many were done before they could be killed"
