"""Checks that this machine can run fastdup-ray: the command `doctor`."""
