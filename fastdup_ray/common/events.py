"""Events of a run: log messages for people, or JSON lines for programs."""

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
    """Log that a step is done. Shown with `verbose`, and with `log_format="json"`.

    Args:
        step: Name of the step.
        text: What happened, for people.
        **facts: What happened, as fields of the JSON line.
    """
    log.info("%s: %s", step, text or facts, extra={"facts": {"step": step} | facts})


def print_lines(text: str, stream: TextIO | None = None, *, label: str = "") -> None:
    """Print lines so that a finished run does not fail because of its output.

    Invisible characters, which file names may have, and characters that the stream cannot encode are printed as
    escapes. If the stream is closed or nobody reads it any more, nothing is printed; other errors, such as a full disk,
    are raised.

    Args:
        text: One or more lines.
        stream: Where to print to; standard output if not given.
        label: Printed before the text as it is, since it may be colored.
    """
    text = label + "\n".join(map(escape_invisible, text.split("\n")))
    stream = sys.stdout if stream is None else stream
    if stream is None:  # standard output was closed at startup
        return
    if not getattr(stream, "closed", False):
        with suppress(BrokenPipeError):
            try:
                print(text, file=stream, flush=True)
            except UnicodeEncodeError:
                encoding = getattr(stream, "encoding", None) or "ascii"
                print(text.encode(encoding, "backslashreplace").decode(encoding), file=stream, flush=True)


class JsonLines(logging.Formatter):
    """A log formatter: one JSON object per line, in ASCII, with time, level, and a step with its facts or a message."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the JSON line of a record."""
        time = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        facts = getattr(record, "facts", None) or {"message": record.getMessage()}
        return json.dumps({"time": time, "level": record.levelname.lower()} | facts)


@contextmanager
def log_to_console(log_format: str, *, verbose: bool) -> Iterator[None]:
    """Show what the package logs while the context lasts, and restore Python's logging afterwards.

    Args:
        log_format: `json` writes each record to standard output as a JSON line. `text` writes to standard error, unless
            the program has its own log handlers.
        verbose: With `text`, also show the steps of the run.
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
