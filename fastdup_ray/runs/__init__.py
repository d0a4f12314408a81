"""What a run does: the checks before it, its stages one after the other, and the modes."""
