"""How buckets are accessed.

It is a value that the caller passes on: a store, a file mover and a worker each carry theirs, so that two runs in one
process do not affect each other. The project never handles credentials: each process finds those of its own
environment, files or role.
"""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Access:
    """How buckets are accessed.

    A pickled value has what this process decided with it: where the driver signs its requests, its workers must not
    fall back to unsigned ones because they find no credentials.

    Attributes:
        anonymous: Send unsigned requests, as public buckets allow. None: only if this process finds no credentials.
        requester_pays: Agree to pay for what is read from requester-pays buckets of S3.
        decided: Schemes, each with whether its requests are unsigned, as another process decided.
    """

    anonymous: bool | None = None
    requester_pays: bool = False
    decided: tuple[tuple[str, bool], ...] = ()

    def __reduce__(self) -> tuple[type["Access"], tuple[bool | None, bool, tuple[tuple[str, bool], ...]]]:
        decided = dict(self.decided) | _decided.get(self, {})
        return Access, (self.anonymous, self.requester_pays, tuple(sorted(decided.items())))

    def is_anonymous(self, scheme: str, has_credentials: Callable[[], bool]) -> bool:
        """Return whether requests are unsigned.

        Args:
            scheme: Of the buckets.
            has_credentials: Looks for credentials for them; called at most once in a process.
        """
        if self.anonymous is not None:
            return self.anonymous
        decided = _decided.setdefault(self, dict(self.decided))
        if scheme not in decided:
            decided[scheme] = not has_credentials()
        return decided[scheme]


DEFAULT_ACCESS = Access()
"""Use the credentials of this process; without any, send unsigned requests."""


def make_access(*, anonymous: bool = False, requester_pays: bool = False) -> Access:
    """Return how buckets are accessed by the flags `--s3-anonymous` and `--s3-requester-pays`."""
    return Access(anonymous or None, requester_pays)


_decided: dict[Access, dict[str, bool]] = {}
"""Access -> what this process decided with it; see `Access.decided`."""
