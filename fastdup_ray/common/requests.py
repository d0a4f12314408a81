"""Requests to remote sources: how often they are tried, how many at once, and how many there were."""

from threading import Lock
from typing import Any

TRIES = 10
"""Attempts at one request that is throttled, cut off or answered by a server error, with growing pauses between."""

LISTING_THREADS = 16
"""Requests at once that list keys, or look up single objects."""

_made = 0
_counting = Lock()


def count_request(**_: Any) -> None:
    """Count a request; boto3 calls it, and so does code that sends requests by another client."""
    global _made
    with _counting:
        _made += 1


def count_requests_made() -> int:
    """Return the number of requests of this process that were counted: all but those that get objects by obstore."""
    return _made
