"""The entry point of the command: `fastdup-ray`, and `python -m fastdup_ray`."""

from fastdup_ray.system.garbage import pause_collection
from fastdup_ray.system.interruption import EXIT_CODE, end_on_signals, leave
from fastdup_ray.system.process import prepare_process


def main() -> None:
    """Run the command. The import of its modules takes a second, in which it can be interrupted, too."""
    prepare_process()
    try:
        with end_on_signals(), pause_collection():
            from fastdup_ray.cli.main import main as command
        command()
    except SystemExit as end:
        if end.code == EXIT_CODE:
            leave()
        raise


if __name__ == "__main__":
    main()
