"""Verification: compare two images in full detail, and say how they are related."""
