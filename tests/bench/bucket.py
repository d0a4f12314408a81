"""A bucket, de-duplicated again and again, on a SeaweedFS server of this machine.

python -m tests.bench.bucket --pictures DIR [--num-images 20000] [--executor inline]

Prints seconds and objects read of a first run, of one on the unchanged bucket, and of one after 200 objects were added,
100 changed and 100 deleted; says whether the last has the bytes of a run from nothing, and how far reading is from what
the server can do: a loop of gets with nothing else, by obstore and by boto3, and the same objects as files. At last a
run on a server that throttles.
"""

import argparse
import itertools
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from fastdup_ray import s3
from fastdup_ray.common import locations
from fastdup_ray.common.access import Access
from fastdup_ray.inputs import prefetch
from fastdup_ray.s3 import listing
from tests.helpers.commands import command, summary_of
from tests.helpers.runs import SAME_BYTES
from tests.helpers.s3_server import OPEN, Bucket, S3Server

SIGNED = Access(anonymous=False)

ADDED, CHANGED, DELETED = 200, 100, 100
THROTTLED = 2_000


def timed(what: str, action: Callable[[], object]) -> float:
    """Seconds, and CPU seconds of this process, are printed."""
    wall, cpu = time.perf_counter(), time.process_time()
    action()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    print(f"{what}: {wall:.2f} s, {cpu:.2f} s of CPU", flush=True)
    return wall


def run(pictures: str | Path, work_dir: Path, *options: object) -> dict:
    """The summary of a run in a process of its own; what took how long is printed."""
    begin = time.perf_counter()
    done = subprocess.run(command(pictures, "--work-dir", work_dir, *options), capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr)
    summary = summary_of(work_dir)
    stages = ", ".join(f"{name} {seconds:.1f}" for name, seconds in summary["seconds"].items())
    print(
        f"run: {time.perf_counter() - begin:.1f} s ({stages}); {summary['read']} objects read, "
        f"{summary['counts']['images']} images, {summary['counts']['bad']} bad",
        flush=True,
    )
    return summary


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=Path, required=True, help="JPEG files, 200 more than are used")
    parser.add_argument("--num-images", type=int, default=20_000)
    parser.add_argument("--executor", default="inline")
    args = parser.parse_args()
    files = list(itertools.islice(sorted(args.pictures.rglob("*.jpg")), args.num_images + ADDED))
    if len(files) < args.num_images + ADDED:
        parser.error(f"{args.pictures} has {len(files)} JPEG files, {args.num_images + ADDED} are needed.")
    with tempfile.TemporaryDirectory() as scratch:
        server = S3Server(Path(scratch))
        server.start()
        os.environ.update(server.environment("owner"))
        try:
            measure(Bucket(server, "bench"), files, Path(scratch), ("--executor", args.executor, "--no-report"))
        finally:
            server.stop()


def measure(bucket: Bucket, files: list[Path], scratch: Path, options: tuple) -> None:
    first, added = files[:-ADDED], files[-ADDED:]

    def put(these: list[Path]) -> None:
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda path: bucket.put(path.name, path.read_bytes()), these))

    timed(f"{len(first)} objects put", lambda: put(first))
    run(bucket.pictures, scratch / "out", *options)
    limits(bucket, first, scratch, options)
    run(bucket.pictures, scratch / "out", *options)

    changed, deleted = first[:CHANGED], random.Random(1).sample(first[CHANGED:], DELETED)
    put(added)
    for path, content in zip(changed, added, strict=False):
        bucket.put(path.name, content.read_bytes() + b" ")
    for path in deleted:
        bucket.delete(path.name)
    print(f"{len(added)} added, {len(changed)} changed, {len(deleted)} deleted")
    print(run(bucket.pictures, scratch / "out", "--incremental", *options)["changes"])
    run(bucket.pictures, scratch / "fresh", *options)
    both = [[(scratch / of / name).read_bytes() for name in SAME_BYTES] for of in ("out", "fresh")]
    print("the bytes of a run from nothing:", "yes" if both[0] == both[1] else "NO")
    print(f"{THROTTLED} objects, where the server refuses more than 8 requests at once:")
    with bucket.server.throttled(reads=8, writes=8):
        run(bucket.pictures, scratch / "throttled", "--num-images", THROTTLED, *options)


def limits(bucket: Bucket, first: list[Path], scratch: Path, options: tuple) -> None:
    refs = list(listing.list_below(bucket.pictures, lambda uri: True, SIGNED))
    client, reader = s3.get_client(SIGNED), s3.get_fast_reader(SIGNED, OPEN)
    keys = [locations.split(ref.uri)[1] for ref in refs]

    def all_of(get: Callable[[str], object]) -> None:
        with ThreadPoolExecutor(prefetch.AT_ONCE) as pool:
            list(pool.map(get, keys))

    def through_the_reader() -> None:
        for _, opened in prefetch.read_ahead(refs, SIGNED):
            with opened as file:
                file.read()

    timed("bare loop of gets, obstore", lambda: all_of(lambda key: reader.get(key).bytes()))
    timed(
        "bare loop of gets, boto3", lambda: all_of(lambda key: client.get_object(Bucket=OPEN, Key=key)["Body"].read())
    )
    timed("the reader of the extraction, without decoding", through_the_reader)
    folder = scratch / "files"
    folder.mkdir()
    for path in first:
        os.symlink(path.absolute(), folder / path.name)
    print("the same as files:")
    run(folder, scratch / "of-files", *options)


if __name__ == "__main__":
    main()
