"""Nearest neighbours without one index: cells of rows, searched by many workers, merged row by row."""
