"""The command `fastdup-ray`: how it starts, and how it ends."""

import sys
import traceback
from typing import NoReturn

import click

from fastdup_ray.cli.colors import color_error
from fastdup_ray.cli.group import PROGRAM, cli
from fastdup_ray.common.events import print_lines
from fastdup_ray.errors import ConfigError, FastdupError, redact
from fastdup_ray.system.interruption import EXIT_CODE, end_on_signals
from fastdup_ray.system.process import prepare_process


def main(arguments: list[str] | None = None) -> None:
    """Run the command, and exit with its code.

    A mistake of the user is one line, never a traceback. A signal that asks the process to end does so within ten
    seconds; see `system.interruption`.

    Args:
        arguments: The words after the name of the program; None for those of this process.
    """
    prepare_process()
    try:
        with end_on_signals():
            try:
                cli.main(arguments, prog_name=PROGRAM, standalone_mode=False)
            finally:
                sys.stdout.flush()
    except click.ClickException as error:
        context = error.ctx if isinstance(error, click.UsageError) else None
        hint = f"\nSee: {context.command_path} --help" if context else ""
        _fail(error.format_message() + hint, ConfigError.exit_code)
    except FastdupError as error:
        _fail(str(error), error.exit_code)
    except OSError as error:
        _fail(str(error), FastdupError.exit_code)
    except click.Abort:
        sys.exit(EXIT_CODE)
    except Exception as error:
        if isinstance(error, ImportError) and (message := _describe_import_error(error)):
            _fail(message, FastdupError.exit_code)
        # A bug; libraries quote the addresses that they were given.
        print_lines(redact(traceback.format_exc()).rstrip(), sys.stderr)
        sys.exit(FastdupError.exit_code)


def _fail(message: str, exit_code: int) -> NoReturn:
    print_lines(redact(message), sys.stderr, label=color_error(f"{PROGRAM}: ", sys.stderr))
    sys.exit(exit_code)


def _describe_import_error(error: ImportError) -> str:
    from fastdup_ray.doctor.packages import describe_import_error

    return describe_import_error(error)


if __name__ == "__main__":
    main()
