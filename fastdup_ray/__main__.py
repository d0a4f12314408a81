"""The entry point of the command: `fastdup-ray`, and `python -m fastdup_ray`."""

from fastdup_ray.system.interruption import end_on_signals
from fastdup_ray.system.process import prepare_process


def main() -> None:
    """Run the command. The import of its modules takes a second, in which it can be interrupted, too."""
    prepare_process()
    with end_on_signals():
        from fastdup_ray.cli.main import main as command
    command()


if __name__ == "__main__":
    main()
