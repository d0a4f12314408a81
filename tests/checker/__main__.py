"""See the package's text."""

import argparse
import sys

from . import __doc__ as text
from . import check
from .run import Run


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.checker", description=text.splitlines()[0])
    parser.add_argument("work_dir", help="what the run wrote")
    parser.add_argument("--input", help="the folder that was the input: is every picture in it in the manifest?")
    arguments = parser.parse_args()
    problems = check(arguments.work_dir, arguments.input)
    if problems:
        print("\n".join(problems))
        return 1
    run = Run(arguments.work_dir)
    print(f"ok: {run.n} images, {len(run.bad)} bad, {len(run.similar.text)} pairs, {len(run.outliers.text)} outliers")
    return 0


if __name__ == "__main__":
    sys.exit(main())
