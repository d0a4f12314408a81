"""What the tests of plans share: files that are as good as pictures, plans for them, and what became of them."""

import hashlib
import os
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from fastdup_ray.actions.plan import PlanRow, write_plan
from fastdup_ray.storage import open_store


def row(path: Path | str, keeper: Path | str = "", *, reference: bool = False) -> PlanRow:
    """Of a file as it is now: dropped where a keeper is given."""
    data = Path(path).read_bytes()
    digest = hashlib.sha256(data).hexdigest()
    action, similarity = ("drop", 0.999) if keeper else ("keep", None)
    keeper = os.fspath(keeper)
    return PlanRow(os.fspath(path), action, 0, keeper, similarity, "bytes", "why", len(data), digest, "", reference)


def write(folder: Path, rows: Iterable[PlanRow], name: str = "plan.csv") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    write_plan(open_store(str(folder)), name, list(rows))
    return folder / name


def fill(folder: Path, names: Iterable[str], size: int = 3000) -> list[Path]:
    """Files of random bytes, no two alike."""
    paths = [folder / name for name in names]
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(os.urandom(size))
    return paths


def contents(*folders: Path) -> Counter[bytes]:
    """How often each content is there, in whole files."""
    found = Counter()
    for folder in folders:
        for place, _, names in os.walk(os.fsencode(folder)):
            for name in names:
                if not name.endswith(b".part"):
                    with open(os.path.join(place, name), "rb") as file:
                        found[file.read()] += 1
    return found


def state(folder: Path) -> dict[str, bytes]:
    """All files below, by their names from the folder on."""
    found = {}
    for place, _, names in os.walk(os.fsencode(folder)):
        for name in names:
            path = os.path.join(place, name)
            with open(path, "rb") as file:
                found[os.fsdecode(os.path.relpath(path, os.fsencode(folder)))] = file.read()
    return found
