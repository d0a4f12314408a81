"""What a run says as it goes: sentences for people, or a JSON line for each step."""

import json
import logging
import sys
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, TextIO

from fastdup_ray.common.names import visible

log = logging.getLogger("fastdup_ray")


def tell(step: str, text: str = "", **facts: Any) -> None:
    """A step is done. Seen with `verbose`, in words, and as JSON, with its facts."""
    log.info("%s: %s", step, text or facts, extra={"facts": {"step": step} | facts})


def say(text: str, stream: TextIO | None = None) -> None:
    """Print lines to standard output, or to `stream`. A run that has finished does not fail as it tells so.

    Invisible characters, which names may have, and those that the encoding of the stream lacks are printed as escapes.
    What nobody can read, as the stream was closed or its reader is gone, is left out; other errors, such as a full
    disk, are raised.
    """
    text = "\n".join(map(visible, text.split("\n")))
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


def log_as_asked(log_format: str, *, verbose: bool) -> None:
    """json: all on stdout as JSON lines. text: with `verbose` what the package logs is told, on stderr."""
    if log_format == "json":
        handler = logging.StreamHandler(sys.stdout)
        handler.setFormatter(JsonLines())
        log.handlers, log.propagate = [handler], False
        log.setLevel(logging.INFO)
    elif verbose:
        logging.basicConfig(format="%(asctime)s %(message)s")
        log.setLevel(logging.INFO)
