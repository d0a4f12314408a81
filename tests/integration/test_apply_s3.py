"""plan, apply, undo and --link on buckets, on a real S3 server."""

import os
import subprocess
import sys

import pytest

from fastdup_ray import apply_plan, build_dataset, layout, make_plan, s3, undo
from fastdup_ray.actions.places import Known, place_of
from fastdup_ray.actions.plan import read_plan
from fastdup_ray.errors import LockedError
from tests.conftest import cloudy, encode, run_inline
from tests.integration.helpers import call
from tests.s3_server import Bucket


def everything(bucket: Bucket, place: str) -> dict[str, bytes]:
    """All objects below a URI, by the rest of their keys."""
    name, prefix = s3.folder_of(place)
    pages = bucket.client.get_paginator("list_objects_v2").paginate(Bucket=name, Prefix=prefix)
    keys = [facts["Key"] for page in pages for facts in page.get("Contents", ())]
    return {key.removeprefix(prefix): bucket.client.get_object(Bucket=name, Key=key)["Body"].read() for key in keys}


def number_of(bucket: Bucket, place: str) -> int:
    name, prefix = s3.folder_of(place)
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
    return make_plan(bucket.work_dir).path


@pytest.fixture
def quarantine(bucket) -> str:
    return bucket.work_dir + "-quarantine"


def test_from_a_bucket_to_its_quarantine_and_back(bucket, pictures, plan, quarantine, capsys):
    assert plan == f"{bucket.work_dir}/plan.csv"
    assert all(row.etag and row.sha256 for row in read_plan(plan))
    assert call("apply", plan, "--quarantine", quarantine) == 0
    assert "2 pictures and 2 files beside them would go" in capsys.readouterr().out
    assert everything(bucket, bucket.pictures) == pictures and not everything(bucket, quarantine)
    assert call("apply", plan, "--quarantine", quarantine, "--execute") == 0
    left = everything(bucket, bucket.pictures)
    assert set(pictures) - set(left) == GONE
    moved = everything(bucket, f"{quarantine}/files/s3/{bucket.pictures.removeprefix('s3://')}")
    assert moved == {name: pictures[name] for name in GONE}
    assert apply_plan(plan, quarantine, execute=True).earlier == 2
    assert call("undo", quarantine) == 0
    assert everything(bucket, bucket.pictures) == pictures
    assert not everything(bucket, f"{quarantine}/files")


def test_what_changed_stays_and_so_do_copies_of_a_keeper_that_did(bucket, pictures, plan, quarantine):
    bucket.put("a/twin.png", pictures["a/twin.png"][:-1] + b"x")
    bucket.put("b/ü 2 + again.png", b"another")
    applied = apply_plan(plan, quarantine, execute=True)
    told = {name.rpartition("/")[2]: reason for name, reason in applied.refused}
    assert "it changed: another ETag" in told["twin.png"] and "cannot be relied on: it changed" in told["ü 2 +.png"]
    assert "may need it" in told["twin.txt"]
    bucket.delete("b/ü 2 + again.png")
    assert "it is gone" in apply_plan(plan, quarantine, execute=True).refused[1][1]


def test_nothing_is_written_over(bucket, pictures, plan, quarantine):
    apply_plan(plan, quarantine, execute=True)
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
    name, key = s3.split(bucket.uri("parts.png"))
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
    place_of(source).move(source, target, Known(len(data), "", etag))
    assert everything(bucket, bucket.pictures) == {}
    there = bucket.client.get_object(**dict(zip(("Bucket", "Key"), s3.split(target), strict=True)))
    assert there["Body"].read() == data
    assert (there["ContentType"], there["Metadata"]) == ("image/png", {"camera": "x"})


def test_pictures_and_quarantine_have_to_be_of_one_kind(bucket, pictures, plan, tmp_path):
    applied = apply_plan(plan, tmp_path / "q", execute=True)
    assert len(applied.refused) == 2 and "another kind of place" in applied.refused[0][1]
    assert everything(bucket, bucket.pictures) == pictures


def test_two_calls_on_one_prefix_do_not_mix(bucket, plan, quarantine):
    def another(line: str) -> None:
        with pytest.raises(LockedError, match="Another apply or undo"):
            undo(quarantine)

    assert len(apply_plan(plan, quarantine, execute=True, tell=another).moved) == 4


def test_who_may_not_delete_moves_nothing_away(bucket, pictures, plan, quarantine, as_user):
    as_user("reader")
    assert call("apply", plan, "--quarantine", quarantine, "--execute") == 1
    as_user("owner")
    assert everything(bucket, bucket.pictures) == pictures


def test_later_runs_leave_a_quarantine_out(bucket, plan, tmp_path):
    apply_plan(plan, f"{bucket.pictures}/{layout.QUARANTINE}", execute=True)
    result = run_inline(bucket.pictures, tmp_path / "out")
    assert result.counts["entries"] == 3 and result.counts["exact_copies"] == 0
    undo(f"{bucket.pictures}/{layout.QUARANTINE}")


def test_a_clean_data_set_of_copies(bucket, pictures, plan, quarantine):
    built = build_dataset(plan, bucket.work_dir + "-clean", "copy", execute=True)
    assert (built.pictures, built.sidecars, built.refused) == (3, 1, [])
    assert everything(bucket, bucket.work_dir + "-clean") == {
        name: pictures[name] for name in pictures if name not in GONE | {"a/other.txt"}
    }
    assert build_dataset(plan, bucket.work_dir + "-clean", "copy", execute=True).refused == []
    refused = build_dataset(plan, bucket.work_dir + "-links", "hard", execute=True).refused
    assert len(refused) == 4 and "use --link copy" in refused[0][1]
    assert everything(bucket, bucket.pictures) == pictures


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(6))
def test_kill_9_of_apply_and_undo_loses_nothing(bucket, quarantine, tmp_path, seed):
    for number in range(30):
        for name in ("keep", "gone"):
            bucket.put(f"{name}{number:02d}.png", encode(cloudy(number), "PNG"))
    run_inline(bucket.pictures, tmp_path / "out")
    plan = make_plan(tmp_path / "out", keep="path:keep*").path
    before = everything(bucket, bucket.pictures)

    def start(*arguments: str) -> subprocess.Popen:
        words = [sys.executable, "-c", "from fastdup_ray.cli import main; main()", *arguments]
        return subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)

    for arguments, left in (
        (["apply", plan, "--quarantine", quarantine, "--execute"], 30),
        (["undo", quarantine], 60),
    ):
        moved = 5 * seed + 1  # so many have gone when it is killed
        process = start(*arguments)
        while abs(number_of(bucket, f"{quarantine}/files") - (left - 30)) < moved:
            assert process.poll() is None, "it was done before it could be killed"
        process.kill()
        process.communicate()
        everywhere = {**everything(bucket, bucket.pictures)}
        for name, data in everything(bucket, f"{quarantine}/files").items():
            everywhere.setdefault(name.rpartition("/")[2], data)
        assert everywhere == before
        again = start(*arguments)
        _, err = again.communicate(timeout=120)
        assert again.returncode == 0, err
        assert len(everything(bucket, bucket.pictures)) == left
    assert everything(bucket, bucket.pictures) == before
