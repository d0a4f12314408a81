"""The output files of a run: a writer for each, and the reader of a finished run."""
