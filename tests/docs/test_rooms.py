"""The rooms of the package are those of fastdup_ray/docs/architecture.md: no import runs upwards, none in a circle."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from tests.docs.pages import DOCS, ROOT

PACKAGE = ROOT / "fastdup_ray"
UNIT = ROOT / "tests" / "unit"
DOORS = {"__init__", "__main__"}
"""Modules of the root that lead into all rooms."""

OF_A_WORK_DIR = {"shards/", "report/"}


def floors() -> dict[str, int]:
    """Map each room to its floor, as the page has them."""
    text = (DOCS / "architecture.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\d+) \| (.*) \|$", text, re.MULTILINE)
    return {room: int(floor) for floor, rooms in rows for room in re.findall(r"`(\w+)`", rooms)}


def imports(path: Path) -> Iterator[str]:
    """Yield the rooms that a module imports from, within functions and for type checkers alone included."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module == PACKAGE.name:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        yield from (name.split(".")[1] for name in names if name.startswith(f"{PACKAGE.name}."))


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def test_every_room_has_a_floor():
    rooms = {room_of(path) for path in PACKAGE.rglob("*.py")} - DOORS
    assert set(floors()) == rooms
    assert max(floors().values()) <= 13


def test_no_import_runs_upwards():
    floor = floors()
    upwards = [
        f"{path.relative_to(PACKAGE)} imports {other}"
        for path in sorted(PACKAGE.rglob("*.py"))
        if (room := room_of(path)) not in DOORS
        for other in imports(path)
        if other != room and floor[other] >= floor[room]
    ]
    assert not upwards


def modules_of(path: Path) -> Iterator[str]:
    """Yield what a module imports, each name with the module it comes from."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def test_no_unit_test_imports_a_whole_run():
    whole = ("fastdup_ray.runs.pipeline", "fastdup_ray.api", "fastdup_ray.cli", "tests.helpers.runs.run_inline")
    found = {path.name: name for path in UNIT.rglob("*.py") for name in modules_of(path) if name.startswith(whole)}
    assert not found


def test_no_test_imports_another_test():
    tests = [*(ROOT / "tests").rglob("*.py")]
    assert not [path.name for path in tests for name in modules_of(path) if re.match(r"tests\..*\btest_", name)]


def test_unit_tests_stand_in_the_rooms_of_the_package():
    rooms = {path.parent.name for path in UNIT.glob("*/test_*.py")}
    assert rooms <= set(floors())


def test_paths_that_the_page_names_exist():
    text = (DOCS / "architecture.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`((?:\w+/)+(?:\w+\.(?:js|md|py))?)`", text)) - OF_A_WORK_DIR
    assert not [name for name in named if not any(ROOT.glob(name)) and not any(PACKAGE.rglob(name.rstrip("/")))]
