"""A password that no message may quote."""

SECRET = "hunter2"
