"""`python -m fastdup_ray`: the command `fastdup-ray`."""

from fastdup_ray.cli import main

if __name__ == "__main__":
    main()
