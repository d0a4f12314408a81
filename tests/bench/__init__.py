"""Measurements of quality and cost: run by hand, not by pytest."""
