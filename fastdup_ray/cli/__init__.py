"""The commands of `fastdup-ray`: options, checks of what the user typed, and the last lines."""
