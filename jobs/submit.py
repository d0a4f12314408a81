#!/usr/bin/env python3
"""Submits an entry point of this folder to a Ray cluster, follows its log, and exits with its exit code.

    python jobs/submit.py --address http://127.0.0.1:8265 find_duplicates s3://bucket/photos --work-dir s3://bucket/out

The nodes need fastdup_ray installed; of this folder only the entry points travel. Ctrl-C and SIGTERM stop the job: what
it has finished is kept, and the same call goes on from there. A cluster with token authentication needs RAY_AUTH_TOKEN
or RAY_AUTH_TOKEN_PATH in the environment.

Exit codes: those of the job; 1 where it could not be submitted or was lost; 2 a wrong parameter; 130 it was stopped.
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
"""What a job gets to leave its work_dir in order, before it is killed; Ray's own 3 are few on a bucket."""

LOST_SECONDS = 60.0
"""Without an answer of the cluster, after which the job counts as lost."""

STOPPED_EXIT = 130


class SubmitError(Exception):
    """What a user can mend; its text is one line."""


def jobs_client(address: str | None) -> Any:
    """Ray's client, which is told of the token; raises `SubmitError`."""
    if any(os.environ.get(name) for name in TOKENS):
        os.environ.setdefault("RAY_AUTH_MODE", "token")  # Ray looks at it as it is imported
    from ray import exceptions
    from ray.job_submission import JobSubmissionClient

    refused = getattr(exceptions, "AuthenticationError", ())  # Ray before 2.52 has no tokens
    try:
        return JobSubmissionClient(address)
    except refused:
        raise SubmitError(
            "The cluster refuses the token: set RAY_AUTH_TOKEN, or RAY_AUTH_TOKEN_PATH, to the cluster's."
        ) from None
    except (ConnectionError, OSError):
        raise SubmitError(
            f"No Ray answers at {address or 'the usual address'}: "
            "name the head's dashboard with --address, such as http://127.0.0.1:8265."
        ) from None
    except (RuntimeError, ValueError) as error:
        raise SubmitError(f"The cluster cannot take jobs: {_first_line(error)}") from None


class Job:
    """A job that is to be submitted, or was."""

    def __init__(self, client: Any, entry_point: str, arguments: tuple[str, ...]):
        self._client, self._told = client, 0
        self._command = shlex.join(["python", f"{entry_point}.py", *arguments])
        self.name = f"{entry_point.replace('_', '-')}-{uuid.uuid4().hex[:12]}"

    def submit(self) -> None:
        environment = {"PYTHONUNBUFFERED": "1", "RAY_JOB_STOP_WAIT_TIME_S": str(STOP_SECONDS)}
        self._client.submit_job(
            entrypoint=self._command,
            submission_id=self.name,
            runtime_env={"working_dir": str(Path(__file__).parent), "env_vars": environment},
        )

    def follow(self) -> int:
        """Prints the log until the job ends; returns the exit code."""
        heard = time.monotonic()
        while True:
            try:
                asyncio.run(self._print_log())
                info = self._client.get_job_info(self.name)
            except (OSError, RuntimeError) as error:  # the head is busy, or gone
                if time.monotonic() - heard > LOST_SECONDS:
                    raise SubmitError(f"Job {self.name} is lost: {_first_line(error)}") from None
                time.sleep(1)
                continue
            heard = time.monotonic()
            if info.status.is_terminal():
                return self._end(info)
            time.sleep(0.5)

    def stop(self) -> None:
        """Returns when it has ended, or after `STOP_SECONDS` and some more."""
        deadline = time.monotonic() + STOP_SECONDS + 10
        self._client.stop_job(self.name)
        while not self._client.get_job_status(self.name).is_terminal() and time.monotonic() < deadline:
            time.sleep(0.2)
        asyncio.run(self._print_log())

    async def _print_log(self) -> None:
        """What was not printed yet: a connection that is made anew begins at the beginning."""
        at = 0
        async for text in self._client.tail_job_logs(self.name):
            _print(text[max(0, self._told - at) :])
            at += len(text)
            self._told = max(self._told, at)

    def _end(self, info: Any) -> int:
        if info.status == "STOPPED":
            print(f"submit: job {self.name} was stopped.", file=sys.stderr)
            return STOPPED_EXIT
        if info.status == "FAILED" and not info.driver_exit_code:
            raise SubmitError(f"Job {self.name} failed: {_first_line(info.message)}")
        return info.driver_exit_code or 0


def _print(text: str) -> None:
    """The log, to whoever still reads it: a job goes on without."""
    try:
        print(text, end="", flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _first_line(error: Any) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), "no reason was given")


def _run(address: str | None, entry_point: str, arguments: tuple[str, ...]) -> int:
    job = Job(jobs_client(address), entry_point, arguments)
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
@click.option("--address", metavar="URL", help="The head's dashboard.  [RAY_API_SERVER_ADDRESS, else this machine's]")
@click.argument("entry_point", type=click.Choice(ENTRY_POINTS))
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def main(address: str | None, entry_point: str, arguments: tuple[str, ...]) -> None:
    """Submits ENTRY_POINT with its ARGUMENTS to a Ray cluster, follows its log, and exits with its exit code."""
    logging.disable(logging.INFO)  # what Ray's client says of itself
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
