"""A run: the checks before it, its stages, and the modes that combine them."""
