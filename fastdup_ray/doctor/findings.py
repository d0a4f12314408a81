"""What a check found, and how it is printed."""

from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from fastdup_ray.errors import redact


class State(StrEnum):
    """The result of a check.

    Attributes:
        OK: All is well.
        NOTE: A run works without it, or with limits.
        BROKEN: A run needs it.
    """

    OK = "ok"
    NOTE = "note"
    BROKEN = "broken"


@dataclass(frozen=True)
class Finding:
    """The result of one check: a line of the output.

    Attributes:
        name: What was checked.
        state: The result.
        text: What was found, and what to do if it is broken.
        fix: Commands of the shell that mend it, if there are any.
    """

    name: str
    state: State
    text: str
    fix: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "text", redact(self.text))


@dataclass(frozen=True)
class Diagnosis:
    """The results of all checks.

    Attributes:
        findings: One for each check.
    """

    findings: tuple[Finding, ...]

    @property
    def ok(self) -> bool:
        """Whether nothing is broken."""
        return all(finding.state is not State.BROKEN for finding in self.findings)

    def as_dict(self) -> dict[str, Any]:
        """Return `ok` and the findings, for JSON."""
        return {"ok": self.ok, "findings": [asdict(finding) for finding in self.findings]}

    def text(self) -> str:
        """Return what the command prints: a line for each finding, and then the commands that mend what is broken."""
        width = max(len(finding.name) for finding in self.findings)
        lines = [f"{finding.state:<7} {finding.name:<{width}}  {finding.text}" for finding in self.findings]
        if fixes := [command for finding in self.findings for command in finding.fix]:
            lines += ["", "To mend it:", *(f"  {command}" for command in dict.fromkeys(fixes))]
        return "\n".join(lines)
