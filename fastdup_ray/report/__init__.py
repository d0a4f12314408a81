"""The HTML report of a run, and small galleries. Both are made from finished outputs alone."""
