"""Pages to look at, made from finished outputs only: the report of a run, and galleries."""
