"""The pages of the documentation, and what stands in them."""

import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "fastdup_ray" / "docs"
PROGRAM = "fastdup-ray"

_BLOCK = re.compile(r"^ *```(.*)\n((?:.*\n)*?) *```$", re.MULTILINE)


def all_pages() -> list[Path]:
    """Return the pages that people read."""
    guides = [ROOT / folder / "README.md" for folder in (".", "cluster", "docker", "jobs", "tests")]
    return [page for page in (*guides, *sorted(DOCS.glob("*.md"))) if page.exists()]


def blocks(page: Path, language: str = "") -> list[str]:
    """Return the fenced blocks of a page that name this language."""
    return [text for name, text in _BLOCK.findall(page.read_text(encoding="utf-8")) if name.strip() == language]


def commands(page: Path) -> Iterator[str]:
    """Yield the arguments of each call of `fastdup-ray` on a page; jobs count as calls of `fastdup-ray run`."""
    for line in "".join(blocks(page)).replace("\\\n", " ").splitlines():
        line = re.split(r" (?:\||&&|>) (?!.*fastdup-ray)", line)[0]  # without the commands that follow
        if call := re.search(rf"(?:^|/|&& |\| ){PROGRAM} (.*)", line):
            yield call[1]
        elif call := re.search(r"(?:find_duplicates(?:\.py)?|rededupe_s3(?:\.py)?|slurm\.sh) (.*)", line):
            yield f"run {call[1]}"


def links(page: Path) -> Iterator[str]:
    """Yield the target of each link and image of a page."""
    prose = re.sub(r"`[^`\n]*`", "", _BLOCK.sub("", page.read_text(encoding="utf-8")))
    yield from re.findall(r"\]\(([^)\s]+)\)", prose)


def anchors(page: Path) -> set[str]:
    """Return the anchors that GitHub gives to the headings of a page."""
    prose = _BLOCK.sub("", page.read_text(encoding="utf-8"))
    headings = re.findall(r"^#+ +(.*)$", prose, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
