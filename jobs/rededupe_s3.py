#!/usr/bin/env python3
"""Find what is new in buckets since the last run: the job for a scheduler, on a cluster or one machine.

    python jobs/rededupe_s3.py s3://bucket/photos --work-dir s3://bucket/dedupe [--fail-over N] [--flag value]…

Takes the arguments of `fastdup-ray run`, and adds --incremental and --log-format json: it reads only new and changed
images, and prints one JSON line per step. The last one has the step `done`, with what is new, or `failed`, with the
reason.

Exit codes: 0 done; 1 failed: see the last line; 2 a wrong parameter: running again does not help; 3 another run is
using the work_dir: skip this time; 4 more than N new pairs; 130 stopped. After 1, 3 and 130, run the same command to
resume.
"""

import sys

from fastdup_ray.cli.main import main

if __name__ == "__main__":
    main(["run", "--incremental", "--log-format", "json", *sys.argv[1:]])
