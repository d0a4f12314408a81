"""Precision and recall against known duplicates, and test images that leaked into a training set."""
