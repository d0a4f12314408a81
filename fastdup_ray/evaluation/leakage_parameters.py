"""What `leakage` takes of the parameters of a run."""

THRESHOLD = 0.9
"""The default of `threshold`."""

FIXED_PARAMETERS = (
    "input_dir",
    "run_mode",
    "version",
    "num_images",
    "min_offset",
    "max_offset",
    "distance",
    "invariant",
)
"""Parameters of a run that `leakage` does not take; all others apply to both sets."""
