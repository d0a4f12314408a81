#!/usr/bin/env python3
"""Re-de-duplicates buckets: the job for a scheduler, on a cluster or anywhere.

    python jobs/rededupe_s3.py s3://bucket/photos --work-dir s3://bucket/dedupe [--fail-over N] [--flag value]…

Takes what `fastdup-ray run` takes, and adds --incremental and --log-format json: one JSON line a step on stdout, the
last one of step `done`, with what is new, or `failed`, with the reason. Reads only what is new or changed.

Exit codes: 0 done; 1 failed: look at the last line; 2 a wrong parameter: calling again does not help; 3 another run is
at work on the same work_dir: skip this time; 4 more than N pairs are new since the last run; 130 stopped: what is
finished is kept. After 1, 3 and 130 the same call goes on from what is there.
"""

import sys

from fastdup_ray.cli.main import main

if __name__ == "__main__":
    main(["run", "--incremental", "--log-format", "json", *sys.argv[1:]])
