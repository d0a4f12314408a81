"""Scripts that make the embedded model; not part of the wheel."""
