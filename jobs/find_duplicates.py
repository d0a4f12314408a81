#!/usr/bin/env python3
"""Find duplicates: the entry point for `ray job submit` and `jobs/submit.py`.

    ray job submit --working-dir jobs -- python find_duplicates.py s3://bucket/photos --work-dir s3://bucket/dedupe

Takes the arguments of `fastdup-ray run`, and exits with its exit code.
"""

import sys

from fastdup_ray.cli.main import main

if __name__ == "__main__":
    main(["run", *sys.argv[1:]])
