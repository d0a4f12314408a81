"""The files that a run leaves behind: one writer a file."""
