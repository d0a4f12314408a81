"""Listing very many keys below one prefix, on a SeaweedFS server of this machine.

python -m tests.bench.keys [--keys 1000000]

Prints seconds to list them, and keys a second.
"""

import argparse
import asyncio
import os
import tempfile
import time
from pathlib import Path

import obstore

from fastdup_ray import RunConfig, s3
from fastdup_ray.common.access import DEFAULT_ACCESS
from fastdup_ray.inputs import list_images
from tests.helpers.s3_server import OPEN, S3Server

AT_ONCE = 32


async def put(keys: int) -> None:
    """A byte each: a listing does not tell them from pictures."""
    store = s3.get_fast_reader(DEFAULT_ACCESS, OPEN)
    names = iter(range(keys))

    async def some() -> None:
        for number in names:
            await obstore.put_async(store, f"all/{number:09d}.jpg", b".")

    await asyncio.gather(*(some() for _ in range(AT_ONCE)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keys", type=int, default=1_000_000)
    keys = parser.parse_args().keys
    with tempfile.TemporaryDirectory() as scratch:
        server = S3Server(Path(scratch))
        server.start()
        os.environ.update(server.environment("owner"))
        try:
            begin = time.perf_counter()
            asyncio.run(put(keys))
            print(f"{keys} put in {time.perf_counter() - begin:.0f} s", flush=True)
            begin = time.perf_counter()
            config = RunConfig.of(input_dir=f"s3://{OPEN}/all", work_dir="unused")
            found = sum(1 for _ in list_images(config))
            seconds = time.perf_counter() - begin
            print(f"{found} listed in {seconds:.1f} s, {found / seconds:.0f} a second")
        finally:
            server.stop()


if __name__ == "__main__":
    main()
