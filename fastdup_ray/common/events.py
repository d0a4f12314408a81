"""What a run says as it goes: sentences for people, or a JSON line for each step."""

import json
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import Any, TextIO

from fastdup_ray.common.names import escape_invisible

log = logging.getLogger("fastdup_ray")


def log_event(step: str, text: str = "", **facts: Any) -> None:
    """A step is done. Seen with `verbose`, in words, and as JSON, with its facts."""
    log.info("%s: %s", step, text or facts, extra={"facts": {"step": step} | facts})


def print_lines(text: str, stream: TextIO | None = None) -> None:
    """Print lines to standard output, or to `stream`. A run that has finished does not fail as it tells so.

    Invisible characters, which names may have, and those that the encoding of the stream lacks are printed as escapes.
    What nobody can read, as the stream was closed or its reader is gone, is left out; other errors, such as a full
    disk, are raised.
    """
    text = "\n".join(map(escape_invisible, text.split("\n")))
    stream = sys.stdout if stream is None else stream
    if stream is None:  # closed as Python began
        return
    if not getattr(stream, "closed", False):
        with suppress(BrokenPipeError):
            try:
                print(text, file=stream, flush=True)
            except UnicodeEncodeError:
                encoding = getattr(stream, "encoding", None) or "ascii"
                print(text.encode(encoding, "backslashreplace").decode(encoding), file=stream, flush=True)


class JsonLines(logging.Formatter):
    """One object a line, in ASCII: time, level, and the step with its facts, or a message."""

    def format(self, record: logging.LogRecord) -> str:
        time = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        facts = getattr(record, "facts", None) or {"message": record.getMessage()}
        return json.dumps({"time": time, "level": record.levelname.lower()} | facts)


@contextmanager
def log_to_console(log_format: str, *, verbose: bool) -> Iterator[None]:
    """Show what the package logs while the context lasts, and leave Python's logging as it was.

    Args:
        log_format: `json` writes each record to standard output as a JSON line. `text` writes to standard error, unless
            the program has log handlers of its own.
        verbose: With `text`, show the steps of the run, too.
    """
    before = log.handlers, log.level, log.propagate
    if log_format == "json":
        handler = logging.StreamHandler(sys.stdout)
        handler.setFormatter(JsonLines())
        log.handlers, log.propagate = [handler], False
        log.setLevel(logging.INFO)
    elif verbose:
        if not log.hasHandlers():
            handler = logging.StreamHandler()
            handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
            log.handlers = [handler]
        log.setLevel(logging.INFO)
    try:
        yield
    finally:
        log.handlers, level, log.propagate = before
        log.setLevel(level)
