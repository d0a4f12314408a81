"""The command `fastdup-ray`, also as `python -m fastdup_ray`."""

from fastdup_ray.interruption import end_on_signals


def main() -> None:
    """Run the command. Importing it takes a second in which it can be interrupted, too."""
    with end_on_signals():
        from fastdup_ray.cli import main as command
    command()


if __name__ == "__main__":
    main()
