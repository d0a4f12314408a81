#!/usr/bin/env python3
"""Submit an entry point of this folder to a Ray cluster, follow its log, and exit with its exit code.

    python jobs/submit.py --address http://127.0.0.1:8265 find_duplicates s3://bucket/photos --work-dir s3://bucket/out

Only this folder is sent to the cluster; its nodes need fastdup_ray installed. Ctrl-C and SIGTERM stop the job; submit
the same command again to resume. A cluster with token authentication needs RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH in the
environment.

Exit codes: those of the job; 1 if it could not be submitted or was lost; 2 a wrong parameter; 130 stopped.
"""

import asyncio
import logging
import os
import shlex
import signal
import sys
import time
import uuid
from pathlib import Path
from typing import Any

import click

ENTRY_POINTS = sorted(path.stem for path in Path(__file__).parent.glob("*.py") if path != Path(__file__))

TOKENS = ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")

STOP_SECONDS = 30
"""Time that a job has to clean up before it is killed; Ray's default of 3 is too short for a bucket."""

LOST_SECONDS = 60.0
"""Seconds without an answer of the cluster after which the job counts as lost."""

STOPPED_EXIT = 130


class SubmitError(Exception):
    """An error that the user can correct; its text is one line."""


def make_client(address: str | None) -> Any:
    """Return Ray's client for jobs, with the token of the environment; raise `SubmitError`."""
    if any(os.environ.get(name) for name in TOKENS):
        os.environ.setdefault("RAY_AUTH_MODE", "token")  # Ray reads it when it is imported
    from ray import exceptions
    from ray.job_submission import JobSubmissionClient

    refusal = getattr(exceptions, "AuthenticationError", ())  # Ray before 2.52 has no tokens
    try:
        return JobSubmissionClient(address)
    except refusal:
        raise SubmitError(
            "The cluster refuses the token: set RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH to that of the cluster."
        ) from None
    except (ConnectionError, OSError):
        raise SubmitError(
            f"No Ray answers at {address or 'the default address'}: "
            "set --address to the dashboard of the head node, such as http://127.0.0.1:8265."
        ) from None
    except (RuntimeError, ValueError) as error:
        raise SubmitError(f"The cluster cannot take jobs: {_first_line(error)}") from None


class Job:
    """A job of the cluster."""

    def __init__(self, client: Any, entry_point: str, arguments: tuple[str, ...]) -> None:
        self._client, self._printed = client, 0
        self._command = shlex.join(["python", f"{entry_point}.py", *arguments])
        self.name = f"{entry_point.replace('_', '-')}-{uuid.uuid4().hex[:12]}"

    def submit(self) -> None:
        """Send the job to the cluster."""
        environment = {"PYTHONUNBUFFERED": "1", "RAY_JOB_STOP_WAIT_TIME_S": str(STOP_SECONDS)}
        self._client.submit_job(
            entrypoint=self._command,
            submission_id=self.name,
            runtime_env={"working_dir": str(Path(__file__).parent), "env_vars": environment},
        )

    def follow(self) -> int:
        """Print the log until the job ends; return its exit code."""
        last_answer = time.monotonic()
        while True:
            try:
                asyncio.run(self._print_log())
                info = self._client.get_job_info(self.name)
            except (OSError, RuntimeError) as error:  # the head is busy, or gone
                if time.monotonic() - last_answer > LOST_SECONDS:
                    raise SubmitError(f"Job {self.name} is lost: {_first_line(error)}") from None
                time.sleep(1)
                continue
            last_answer = time.monotonic()
            if info.status.is_terminal():
                return self._end(info)
            time.sleep(0.5)

    def stop(self) -> None:
        """Stop the job, and wait until it has ended, for `STOP_SECONDS` and some more at most."""
        deadline = time.monotonic() + STOP_SECONDS + 10
        self._client.stop_job(self.name)
        while not self._client.get_job_status(self.name).is_terminal() and time.monotonic() < deadline:
            time.sleep(0.2)
        asyncio.run(self._print_log())

    async def _print_log(self) -> None:
        """Print the rest of the log: each connection begins at the start of it."""
        position = 0
        async for text in self._client.tail_job_logs(self.name):
            _print(text[max(0, self._printed - position) :])
            position += len(text)
            self._printed = max(self._printed, position)

    def _end(self, info: Any) -> int:
        if info.status == "STOPPED":
            print(f"submit: job {self.name} was stopped.", file=sys.stderr)
            return STOPPED_EXIT
        if info.status == "FAILED" and not info.driver_exit_code:
            raise SubmitError(f"Job {self.name} failed: {_first_line(info.message)}")
        return info.driver_exit_code or 0


def _print(text: str) -> None:
    """Print without an end of line; a job does not stop if nobody reads its log."""
    try:
        print(text, end="", flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _first_line(error: Any) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), "no reason was given")


def _run(address: str | None, entry_point: str, arguments: tuple[str, ...]) -> int:
    job = Job(make_client(address), entry_point, arguments)
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    try:
        job.submit()
        print(f"submit: job {job.name}", file=sys.stderr)
        return job.follow()
    except KeyboardInterrupt:
        print(f"submit: stopping job {job.name} …", file=sys.stderr)
        job.stop()
        return STOPPED_EXIT


@click.command(
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False, "max_content_width": 120}
)
@click.option("--address", metavar="URL", help="Dashboard of the head node.  [RAY_API_SERVER_ADDRESS, or this machine]")
@click.argument("entry_point", type=click.Choice(ENTRY_POINTS))
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def main(address: str | None, entry_point: str, arguments: tuple[str, ...]) -> None:
    """Submit ENTRY_POINT with its ARGUMENTS to a Ray cluster, follow its log, and exit with its exit code."""
    logging.disable(logging.INFO)  # messages of Ray's client
    for stream in filter(None, (sys.stdout, sys.stderr)):
        stream.reconfigure(errors="backslashreplace")  # names that the terminal's encoding lacks
    try:
        sys.exit(_run(address, entry_point, arguments))
    except SubmitError as error:
        print(f"submit: {error}", file=sys.stderr)
    except (RuntimeError, OSError) as error:
        print(f"submit: the cluster said: {_first_line(error)}", file=sys.stderr)
    sys.exit(1)


if __name__ == "__main__":
    main()
