"""What this machine has, and lacks, for a run: on one screen, in a second or two.

A new check is one function that gives findings, and one line in `examine`.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from fastdup_ray.errors import redact


class State(StrEnum):
    """ok; note: a run does without it, or may meet it; broken: a run needs it."""

    OK = "ok"
    NOTE = "note"
    BROKEN = "broken"


@dataclass(frozen=True)
class Finding:
    """One line of the screen."""

    name: str
    state: State
    text: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "text", redact(self.text))


@dataclass(frozen=True)
class Diagnosis:
    findings: tuple[Finding, ...]

    @property
    def ok(self) -> bool:
        return all(finding.state is not State.BROKEN for finding in self.findings)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"ok": self.ok, "findings": [asdict(finding) for finding in self.findings]}

    def text(self) -> str:
        """What the command prints."""
        width = max(len(finding.name) for finding in self.findings)
        return "\n".join(f"{found.state:<7} {found.name:<{width}}  {found.text}" for found in self.findings)


def examine(*, gpu: bool = False, place: str | None = None, work_dir: str = ".") -> Diagnosis:
    """All checks. gpu: one is needed. place: an s3:// URI that is to be reached. work_dir: where outputs are to go."""
    from fastdup_ray.doctor import connectivity, libraries, machine

    def findings() -> Iterator[Finding]:
        yield from libraries.check_versions()
        yield from libraries.check_twins()
        yield from libraries.check_pillow()
        yield libraries.check_model()
        yield machine.check_gpu(needed=gpu)
        yield machine.check_cores()
        yield machine.check_memory()
        yield machine.check_disk(work_dir)
        yield connectivity.check_ray()
        if place is not None:
            yield connectivity.check_s3(place)

    return Diagnosis(tuple(findings()))
