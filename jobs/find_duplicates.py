#!/usr/bin/env python3
"""De-duplicates pictures: the entry point for `ray job submit`, and for `jobs/submit.py`.

    ray job submit --working-dir jobs -- python find_duplicates.py s3://bucket/photos --work-dir s3://bucket/dedupe

Takes what `fastdup-ray run` takes, and exits as it does.
"""

import sys

from fastdup_ray.cli.main import main

if __name__ == "__main__":
    main(["run", *sys.argv[1:]])
